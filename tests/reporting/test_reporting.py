"""What searches and rankings show and leave."""

import csv
import json
import re
import warnings
from dataclasses import fields, replace
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from diswot.commands import compose
from diswot.console import print_pairs, show_front, show_top
from diswot.ranking.scores import Scores, Target
from diswot.ranking.statistics import rank_rows
from diswot.reporting import front_lines, latency_lines
from diswot.reporting.rank import plot_rank, rank_csv, scores_csv, show_rank
from diswot.reporting.search import show_sweep
from diswot.runs import LatencySummary, RankRow, SearchSummary, read_summary
from diswot.search import run_search

CONDITIONS = {
    **{"space": "s0", "data": "fashion_mini", "num_classes": 100, "init": "gaussian"},
    **{"teacher": "resnet56", "teacher_weights": "none", "batch_size": 0, "image_size": 0},
    "source": "",
}
KEYS = {
    *("schema", "space", "arch", "score", "params", "flops", "evaluated", "rejected", "seconds"),
    *("candidates_per_second", "teacher", "proxy", "strategy", "seed", "data", "device"),
    *("versions", "top"),
}
SETTINGS = [
    *(
        "space=s0",
        "teacher=resnet8",
        "proxy=[diswot,nwot,params]",
        "budget=none",
        "budget.params=8e5",
    ),
    *("data=gaussian", "data.batch_size=6", "data.image_size=16", "device=cpu", "workers=1"),
    *("strategy.evaluations=24", "strategy.population=10", "strategy.sample=5"),
]


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


def test_show_rank_marks_and_legend(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
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
    assert broken.split() == ["broken", *["—"] * 7, "0.0123", "60"]
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


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished search."""
    path = tmp_path_factory.mktemp("search")
    run_search(compose("search", SETTINGS, None), path, quiet=True)
    return path


def strict(path: Path) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} in {path}")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def test_result_of_a_search(run: Path) -> None:
    result = strict(run / "result.json")
    assert set(result) >= KEYS
    named = [result[key] for key in ("schema", "evaluated", "teacher", "proxy")]
    assert named == [1, 24, "resnet8", "diswot"]
    assert result["params"] <= 8e5
    assert result["teacher_params"] == 78_042
    assert result["seconds"] > 0
    assert {"diswot", "torch", "python", "cpu_capability"} <= set(result["versions"])
    assert result["top"][0]["arch"] == result["arch"]
    assert len(result["top"]) <= 10
    assert all(set(row["others"]) == {"nwot", "params"} for row in result["top"])
    assert strict(run / "config.json")["device"] == "cpu"


def test_the_table_of_the_best_ends_with_the_teacher(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = read_summary(run / "result.json", SearchSummary)
    show_top(summary)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "teacher resnet8" in line]
    assert re.findall(r"[\d,]{3,}", line) == ["78,042", f"{summary.teacher_flops:,}"]
    show_top(replace(summary, teacher=None, teacher_params=None, teacher_flops=None))
    assert "teacher" not in capsys.readouterr().out


def test_a_score_that_is_a_size_has_no_column_of_its_own(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = read_summary(run / "result.json", SearchSummary)
    show_top(replace(summary, proxy="params"))
    show_front(replace(summary, proxy="params", front=summary.top[:2]))
    heads = [line for line in capsys.readouterr().out.splitlines() if "MACs" in line]
    columns = [[name.strip() for name in line.split("┃")] for line in heads]
    assert [names.count("params") for names in columns] == [1, 1]
    show_top(summary)
    assert summary.proxy in capsys.readouterr().out


def test_latency_stands_beside_the_other_costs(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = read_summary(run / "result.json", SearchSummary)
    show_top(summary)
    show_sweep({"one": summary})
    assert " ms " not in capsys.readouterr().out
    timed = [replace(each, latency_ms=1.5 + place) for place, each in enumerate(summary.top)]
    known = LatencySummary("measured on a processor", 0.0123, 98.7)
    summary = replace(summary, top=timed, latency_ms=1.5, latency=known)
    show_top(summary)
    shown = capsys.readouterr().out.splitlines()
    assert " ms " in shown[2]
    assert [line.split()[-2] for line in shown if "│ s0:" in line] == [
        f"{1.5 + place}" for place in range(min(5, len(timed)))
    ]
    assert any("teacher resnet8" in line and " 98.7 " in line for line in shown)
    show_sweep({"one": summary})
    assert re.search(r"ms.*\n.*\n.* 1\.5 │", capsys.readouterr().out)
    (line,) = latency_lines(summary)
    assert line == (
        "Latency, ms: measured on a processor; interquartile range of the passes 1.2% (median)"
    )


def test_a_front_is_shown_from_end_to_end(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = read_summary(run / "result.json", SearchSummary)
    assert [each.params for each in summary.front] == sorted(e.params for e in summary.front)
    first = summary.front[0]
    many = [replace(first, arch=f"s0:{place}", params=1000 + place) for place in range(20)]
    show_front(replace(summary, front=many, objectives=["fitness", "params"]))
    shown = capsys.readouterr().out
    assert "Pareto front: 20 of" in shown
    assert "8 of them (fitness, params)" in " ".join(shown.split())
    archs = re.findall(r"│ (s0:\d+) ", shown)
    assert (archs[0], archs[-1], len(archs)) == ("s0:0", "s0:19", 8)
    show_front(replace(summary, front=many[:1]))
    assert capsys.readouterr().out == ""
    (line,) = front_lines(replace(summary, front=many[:2]))
    assert line == "Pareto front (fitness, params), 2 architectures: s0:0, s0:1"
    (line,) = front_lines(replace(summary, front=many))
    assert line.startswith("Pareto front (fitness, params), 20 architectures: of them s0:0, ")
    assert line.endswith(", s0:19")


def test_candidates_of_a_search(run: Path) -> None:
    lines = [json.loads(line) for line in (run / "candidates.jsonl").read_text().splitlines()]
    rows = read(run / "candidates.csv")
    assert list(rows[0]) == [
        *("arch", "score", "first_score", "part_semantic", "part_relation", "score_nwot"),
        *("score_params", "params", "flops", "layers", "status", "reason", "generation"),
        *("cached", "seconds", "front"),
    ]
    assert [row["arch"] for row in rows] == [line["arch"] for line in lines]
    for row, line in zip(rows, lines, strict=True):
        assert float(row["score"]) == float(row["first_score"]) == line["score"]
        assert int(float(row["params"])) == line["params"]
        assert float(row["part_semantic"]) + float(row["part_relation"]) == line["score"]
        assert row["cached"] == str(line["cached"])


def test_picture_of_a_search(run: Path) -> None:
    with Image.open(run / "search.png") as image:
        assert image.format == "PNG"
        image.load()
        width, height = image.size
        pixels = np.asarray(image.convert("L"))
    assert 800 <= width <= 3000
    assert 300 <= height <= 2000
    for half in np.array_split(pixels, 2, axis=1):
        assert 0.005 < (half < 250).mean() < 0.6  # something is drawn, most is paper


def test_a_plan_shows_brackets_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    print_pairs({"run dir": "/runs/[b]x[/b]/[/q]"})
    assert "/runs/[b]x[/b]/[/q]" in capsys.readouterr().out
