from __future__ import annotations

from pathlib import Path

import pytest

from diswot.tables import Spec, load_table, to_markdown

ROOT = Path(__file__).parents[2]
TABLES = sorted(path.parent for path in ROOT.glob("experiments/*/table.yaml"))


@pytest.mark.parametrize("folder", TABLES, ids=lambda folder: folder.name)
def test_the_shipped_tables_are_what_their_files_say(folder: Path) -> None:
    spec = Spec.load(folder)
    assert not spec.small or spec.runs == f"runs/tables/{folder.name}"
    assert spec.conditions or not (folder / "results.csv").exists()
    if (folder / "table.md").exists():
        assert (folder / "table.md").read_text() == to_markdown(load_table(folder))


def test_there_are_tables() -> None:
    assert {"s0_ablation", "nasbench201"} <= {folder.name for folder in TABLES}
