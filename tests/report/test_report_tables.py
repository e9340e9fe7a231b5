"""The folder of a table: what is printed, table.md and the page."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest

from diswot.report import main

SPEC = """\
title: Which proxy <b>predicts</b> best
paper: Table 1 of a paper
scale: 2 cores
kind: correlations
commands: [rank experiment=x]
small: [rank experiment=x_small]
runs: nowhere
row: "{proxy}"
column: "{target} {statistic}"
"""
PAPER = """\
row,column,value,std,unit,source,note
ours,distilled spearman,0.85,0.01,,"Someone, 2023, Table 1",no seeds stated
other,distilled spearman,,,,,a figure only
"""
RESULTS = """\
row,column,value,std,low,high,seeds,scale,date,runs
ours,distilled spearman,0.812,0.02,0.75,0.88,3,2 cores: 8 images,2026-01-02,3
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A small table."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, text in {"table.yaml": SPEC, "paper.csv": PAPER, "results.csv": RESULTS}.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_a_table_stands_in_three_places(
    table: Path, search_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(table), str(search_run)]) == 0
    shown = capsys.readouterr().out
    assert "0.812 ± 0.020 [0.750, 0.880]" in shown
    assert "(0.85 ± 0.01)" in shown
    assert "<b>predicts</b>" in shown
    assert "0.812" in (table / "table.md").read_text(encoding="utf-8")
    page = (table / "report.html").read_text(encoding="utf-8")
    told = " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())
    assert "ours 0.812 ± 0.020 [0.750, 0.880] published 0.85 ± 0.01 1 −0.038" in told
    assert "other no figure 2" in told
    assert "Scale: 2 cores: 8 images. Measured 2026-01-02, 3 seeds." in told
    assert '<li id="note-1-1">Someone, 2023, Table 1. no seeds stated</li>' in page
    assert "<b>" not in page
    assert 'id="table-1"' in page
    assert 'id="runs"' in page


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("paper.csv", "row,column\n", "paper.csv"),
        ("table.yaml", "title: [", "table.yaml"),
        ("results.csv", RESULTS.replace("0.812", "high"), "results.csv, line 2"),
    ],
)
def test_damaged_tables(
    name: str, text: str, told: str, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (table / name).write_text(text, encoding="utf-8")
    assert main([str(table)]) == 2
    assert told in capsys.readouterr().err
    assert not (table / "report.html").exists()
    before = (table / "results.csv").read_bytes()
    assert main([str(table), "--collect"]) == 2
    assert ("nowhere" if name != "table.yaml" else "table.yaml") in capsys.readouterr().err
    assert (table / "results.csv").read_bytes() == before
