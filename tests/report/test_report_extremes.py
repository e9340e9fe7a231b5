"""Figures too large, not finite or too many to draw: the page says so."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from report_helpers import copied, make_train

from diswot.report import main
from diswot.reporting.page import reading
from diswot.reporting.page.picture import Picture
from diswot.reporting.page.pictures import of_ranking
from diswot.runs import find_runs


def test_figures_that_cannot_be_drawn_leave_a_note(
    search_run: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    search = copied(search_run, tmp_path / "search", 0)
    lines = (search / "candidates.csv").read_text().splitlines()
    for index, sign in enumerate(("", "-"), start=1):
        arch, _, rest = lines[index].split(",", 2)
        lines[index] = f"{arch},{sign}1e308,{rest}"
    (search / "candidates.csv").write_text("\n".join(lines) + "\n")
    train = make_train(tmp_path / "train", 1, 50.0)
    epochs = [json.loads(line) for line in (train / "epochs.jsonl").read_text().splitlines()]
    epochs[0]["val_top1"], epochs[1]["val_top1"] = -1e308, 1e308
    (train / "epochs.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in epochs))
    assert main([str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for label in ("Best and mean score as the search went on", "Accuracy over the epochs"):
        assert f"No picture “{label}”: there are values beyond ±1e+100." in page
    assert 'aria-label="Training losses over the epochs"' in page
    assert not recwarn.list


def test_what_matplotlib_refuses_becomes_a_note() -> None:
    picture = Picture("a", "a")
    with picture.draw("bars") as axes:
        axes.set_xlim(0, np.inf)
    with picture.draw("lines") as axes:
        axes.plot([0, 1], [0, 1])
    assert len(picture.panels) == 1
    assert picture.notes == ["No picture “bars”: Axis limits cannot be NaN or Inf."]


def test_infinite_figures_are_missing(tmp_path: Path) -> None:
    run = make_train(tmp_path / "train", 1, 50.0)
    journal = (run / "epochs.jsonl").read_text().replace("50.0", "Infinity")
    (run / "epochs.jsonl").write_text(journal)
    assert [str(epoch.val_top1) for epoch in reading.epochs(run)] == ["48.0", "49.0", "nan"]
    assert main([str(run)]) == 0
    assert "best 49.00 %" in (run / "report.html").read_text(encoding="utf-8")


def test_rankings_of_infinite_figures_and_of_very_many(sweep: Path, tmp_path: Path) -> None:
    shutil.copytree(sweep / "rank", tmp_path / "rank")
    table = tmp_path / "rank" / "rank.csv"
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    own = [row for row in rows if row["target"] == rows[0]["target"]]
    like = next(row for row in own if row["proxy"] == "random")
    many = [{**like, "proxy": f"p{i:04}", "spearman": str(0.9 - i / 1e4)} for i in range(1100)]
    first = {**like, "proxy": "endless", "spearman": "inf"}
    few = [{**own[0], "target": f"t{i}"} for i in range(30)]
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows([first, *many, *own, *few])
    picture = of_ranking(find_runs([tmp_path / "rank"])[0], "many", "many")
    names = [row.proxy for row in picture.rows[f"{like['dataset']} {like['target']}"]]
    assert len(names) == 1000
    assert names[0] == "p0000"  # NaN is last, whatever its place
    assert {"params", "flops"} <= set(names)
    assert len(picture.panels) == len(picture.rows) == 24
    assert [picture.panels[0].count(f">{name}</text>") for name in ("params", "p0057")] == [1, 1]
    assert ">p0058</text>" not in picture.panels[0]
    assert picture.notes == [
        "The first 24 of 31 targets are shown.",
        f"Of {1101 + len(own):,} proxies the best 60 are drawn, with params and FLOPs.",
        "A table holds the best 1,000; rank.csv has all.",
    ]


def test_of_many_losses_a_few_are_drawn(tmp_path: Path) -> None:
    run = make_train(tmp_path / "train", 1, 50.0)
    more = "".join(f'"l{i:02}": 1.0, ' for i in range(30))
    journal = (run / "epochs.jsonl").read_text().replace('"losses":{', f'"losses":{{{more}')
    (run / "epochs.jsonl").write_text(journal.replace('"losses": {', f'"losses": {{{more}'))
    assert main([str(run)]) == 0
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "16 of 32 losses are drawn." in page
    assert ">loss (1 = 3)</text>" in page
    assert ">l14 (1 = 1)</text>" in page
    assert ">l15 (1 = 1)</text>" not in page
