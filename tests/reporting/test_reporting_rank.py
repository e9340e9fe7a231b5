"""What a ranking shows and leaves."""

from __future__ import annotations

import csv
import re
import warnings
from dataclasses import fields, replace
from math import nan
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diswot.ranking.scores import Scores, Target
from diswot.ranking.statistics import rank_rows
from diswot.reporting.rank import plot_rank, rank_csv, scores_csv, show_rank
from diswot.runs import RankRow

CONDITIONS = {
    **{"space": "s0", "data": "fashion_mini", "num_classes": 100, "init": "gaussian"},
    **{"teacher": "resnet56", "teacher_weights": "none", "batch_size": 0, "image_size": 0},
    "source": "",
}


def example(archs: int, proxies: int, seeds: int = 2) -> tuple[Scores, list[Target]]:
    """The first proxy is params, the second good and of many magnitudes, the third fails."""
    rng = np.random.default_rng(0)
    accuracy = rng.uniform(50, 70, archs)
    accuracy[0] = 1  # learned nothing
    params = 1e5 * (accuracy + rng.uniform(0, 30, archs))
    values = {"params": np.tile(params, (seeds, 1))}
    values["a.proxy_with_a_name_that_is_long"] = 10 ** (accuracy + rng.normal(0, 1, (seeds, archs)))
    values["broken"] = np.full((seeds, archs), nan)
    values |= {f"p{i}": rng.normal(size=(seeds, archs)) for i in range(3, proxies)}
    values = dict(list(values.items())[-proxies:])
    values[list(values)[-1]][0, 1] = nan
    scores = Scores(
        archs=tuple(f"s0:{index}" for index in range(archs)),
        seeds=tuple(range(5, 5 + seeds)),
        values=values,
        seconds=dict.fromkeys(values, 0.0123),
        params=params,
        flops=params / 3,
        baselines=frozenset({"params"}),
    )
    names = ("vanilla", "distilled")
    return scores, [Target("cifar100", name, accuracy + i) for i, name in enumerate(names)]


def ranked(scores: Scores, targets: list[Target]) -> list[RankRow]:
    return rank_rows(scores, targets, CONDITIONS, resamples=20, seed=0)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_rank_csv_has_a_line_a_row_and_empty_cells(tmp_path: Path) -> None:
    rows = ranked(*example(20, 4))
    rank_csv(tmp_path / "rank.csv", rows)
    lines = read(tmp_path / "rank.csv")
    assert list(lines[0]) == [field.name for field in fields(RankRow)]
    assert [line["proxy"] for line in lines] == [row.proxy for row in rows]
    best, last = lines[0], lines[3]
    assert float(best["spearman"]) == rows[0].spearman  # to the last bit
    assert best["better_than_params"] in {"True", "False"}
    assert last["proxy"] == "broken"
    assert (last["spearman"], last["regret"], last["failed"]) == ("", "", "40")
    assert "nan" not in (tmp_path / "rank.csv").read_text(encoding="utf-8").lower()
    assert [path.name for path in tmp_path.iterdir()] == ["rank.csv"]


def test_scores_csv_has_a_line_an_arch_and_seed(tmp_path: Path) -> None:
    scores, targets = example(6, 4)
    scores_csv(tmp_path / "scores.csv", scores, targets)
    lines = read(tmp_path / "scores.csv")
    sizes = ["arch", "seed", "params", "flops"]
    others = [name for name in scores.values if name != "params"]
    assert list(lines[0]) == [*sizes, "cifar100_vanilla", "cifar100_distilled", *others]
    assert [(line["arch"], line["seed"]) for line in lines] == [
        (arch, str(seed)) for seed in (5, 6) for arch in scores.archs
    ]
    assert lines[1]["p3"] == ""
    assert float(lines[1]["params"]) == scores.params[1]
    for index, line in enumerate(lines[6:]):
        assert float(line["p3"]) == scores.values["p3"][1, index]
        assert float(line["cifar100_distilled"]) == targets[1].accuracy[index]
        assert line["broken"] == ""


@pytest.mark.parametrize("columns", [100, 80])
def test_show_rank_fits_the_terminal(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    show_rank([replace(row, better_than_params=True) for row in ranked(*example(30, 6))])
    shown = capsys.readouterr().out
    shown = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert max(map(len, shown.splitlines())) <= columns
    assert "…" not in shown
    assert columns < 100 or re.search(r"▲ +a\.prox.* 0\.\d+ \[.*\] ±\.\d\d ", shown)
    assert all(f"p{index}" in shown for index in range(3, 6))


def test_show_rank_marks_and_legend(capsys: pytest.CaptureFixture[str]) -> None:
    rows = ranked(*example(30, 5))
    good = next(row for row in rows if row.proxy.startswith("a."))
    rows[rows.index(good)] = replace(good, better_than_params=True, spearman_std=0.034)
    show_rank(rows)
    shown = capsys.readouterr().out
    assert shown.index("cifar100 vanilla: 30 ") < shown.index("cifar100 distilled: 30 ")
    marked = [line for line in shown.splitlines() if "a.proxy_with" in line and "▲" in line]
    assert any("±.03" in line for line in marked)
    assert all(line.startswith(" ○") for line in shown.splitlines() if " params  " in line)
    broken = next(line for line in shown.splitlines() if "broken" in line)
    assert broken.split() == ["broken", *["—"] * 6, "0.0123", "60"]
    assert "nan" not in shown
    assert all(f"\n{mark} " in shown for mark in "○▲±")


@pytest.mark.parametrize(("archs", "proxies", "seeds"), [(64, 1, 1), (4000, 7, 2), (3, 3, 1)])
def test_picture(archs: int, proxies: int, seeds: int, tmp_path: Path) -> None:
    scores, targets = example(archs, proxies, seeds)
    rows = ranked(scores, targets)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot_rank(tmp_path / "rank.png", rows, scores, targets, "s0")
    with Image.open(tmp_path / "rank.png") as image:
        assert image.width == 1320
        pixels = np.asarray(image.convert("RGB"))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 100
    assert [path.name for path in tmp_path.iterdir()] == ["rank.png"]


def test_picture_grows_with_targets_and_proxies(tmp_path: Path) -> None:
    sizes = []
    for proxies, count in ((4, 1), (4, 4), (12, 1)):
        scores, targets = example(20, proxies, 1)
        targets = [replace(targets[0], dataset=f"d{index}") for index in range(count)]
        plot_rank(tmp_path / "rank.png", ranked(scores, targets), scores, targets, "s0")
        with Image.open(tmp_path / "rank.png") as image:
            sizes.append(image.height)
    assert sizes[0] < min(sizes[1:])
