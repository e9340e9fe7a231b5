"""Runs as the commands leave them: one real search and ranking, copied with other seeds."""

import html
import json
import re
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from diswot.commands import compose
from diswot.rank import run_rank
from diswot.report import main
from diswot.runs import EpochRecord, Journal, TrainSummary, write_json
from diswot.search import run_search

Json = dict[str, Any]

TINY = [
    *("space=s0", "teacher=resnet8", "data=gaussian", "data.batch_size=6", "data.image_size=16"),
    *("device=cpu", "workers=1"),
]
SCORES = (-0.25, -0.75, -0.5)
TOP1 = (70.0, 71.0, 72.0)


@pytest.fixture(scope="session")
def search_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One finished search."""
    path = tmp_path_factory.mktemp("search") / "run"
    sizes = ["strategy.evaluations=12", "strategy.population=8", "strategy.sample=4", "budget=none"]
    run_search(compose("search", [*TINY, "proxy=diswot", *sizes], None), path, quiet=True)
    return path


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
    settings = ["teacher=none", "proxy=random", "benchmark.sample=20", "resamples=50", "seeds=2"]
    run_rank(compose("rank", [*TINY, *settings], None), root / "rank", quiet=True)
    return root


@pytest.fixture(scope="session")
def report(sweep: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the sweep."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    assert main([str(sweep), "--output", str(path)]) == 0
    return path


def make_train(path: Path, seed: int, top1: float, distiller: str = "kd") -> Path:
    """What a training of three epochs leaves, without the training."""
    path.mkdir(parents=True)
    words = ["student=resnet8", "teacher.weights=embedded", f"distiller={distiller}"]
    config = compose("train", [*words, f"seed={seed}"], None)
    write_json(path / "config.json", config)
    journal = Journal(path / EpochRecord.file, EpochRecord)
    for epoch in range(3):
        losses = {"loss": 3.0 / (epoch + 1), "ce": 2.0 / (epoch + 1)}
        reached = top1 - 2 + epoch
        journal.append(EpochRecord(epoch, 0.1, losses, 1.0, reached, 99.0, reached, 100.0, 2.0))
    journal.close()
    summary = TrainSummary(
        **{"student": "resnet8", "teacher": None if distiller == "none" else "resnet56"},
        **{"distiller": list(config["distiller"] or {}), "data": "x", "validated_on": "test"},
        **{"epochs": 3, "test_top1": top1, "test_top5": 99.0, "best_val_top1": top1},
        **{"params": 78042, "flops": 12500000, "images_per_second": 1.0, "seconds": 6.0},
        **{"seed": seed, "versions": {"diswot": "0.1.0"}},
    )
    write_json(path / "result.json", asdict(summary))
    return path


def copied(run: Path, to: Path, seed: int, **result: Any) -> Path:
    """The same run under another seed, and with other figures in its result."""
    shutil.copytree(run, to)
    data = {**read(to / "config.json")["data"], "shuffle_seed": seed}
    configured(to, seed=seed, data=data)
    changed = {**read(to / "result.json"), "seed": seed, **result}
    (to / "result.json").write_text(json.dumps(changed), encoding="utf-8")
    return to


def configured(run: Path, **settings: Any) -> Path:
    """The run itself, with other settings in its config."""
    write_json(run / "config.json", {**read(run / "config.json"), **settings})
    return run


def read(path: Path) -> Json:
    value: Json = json.loads(path.read_text(encoding="utf-8"))
    return value


def reported(path: Path) -> str:
    """The page of a folder of runs."""
    assert main([str(path)]) == 0
    return (path / "report.html").read_text(encoding="utf-8")


def section(page: str, name: str) -> str:
    return page.partition(f'<section id="{name}">')[2].partition("</section>")[0]


def words(markup: str) -> str:
    """What is read, without its tags."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", markup)).split())
