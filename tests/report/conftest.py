"""Fixtures of the report's tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from report_helpers import configured, copied, make_rank, make_search, make_train, read

SCORES = (-0.25, -0.75, -0.5)
TOP1 = (70.0, 71.0, 72.0)


@pytest.fixture(scope="session")
def search_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One finished search."""
    return make_search(tmp_path_factory.mktemp("search") / "run")


@pytest.fixture(scope="session")
def sweep(tmp_path_factory: pytest.TempPathFactory, search_run: Path) -> Path:
    """Twelve runs: two searches and two trainings under several seeds, and a ranking."""
    root = tmp_path_factory.mktemp("runs") / "sweep"
    for seed, score in enumerate(SCORES):
        copied(search_run, root / "search" / f"a{seed}", seed, score=score)
        other = copied(search_run, root / "search" / f"b{seed}", seed)
        configured(other, budget={**read(other / "config.json")["budget"], "params": 123456})
        make_train(root / "train" / f"kd{seed}", seed, TOP1[seed])
        if seed < 2:
            make_train(root / "train" / f"alone{seed}", seed, 60.0 + seed, "none")
    make_rank(root / "rank")
    return root
