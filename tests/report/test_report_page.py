"""Content of the page, compared with the files of runs and tables."""

import csv
import re
from pathlib import Path

import pytest
from report_helpers import configured, copied, make_train, read, reported, section, words

from diswot.report import main
from diswot.reporting.page.facts import COLUMNS

LIMIT = 3 * 2**20
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


@pytest.fixture(scope="module")
def page(report: Path) -> str:
    """The report of the sweep."""
    return report.read_text(encoding="utf-8")


def test_every_run_has_a_line_with_its_figures(page: str, sweep: Path) -> None:
    table = section(page, "runs").partition("<tbody>")[2]
    lines = [words(line) for line in table.split("</tr>")[:-1]]
    assert len(lines) == 12
    columns = [key for key in COLUMNS if key != "latency_ms"]  # no run has one
    for line, markup in zip(lines, table.split("</tr>"), strict=False):
        cells = dict(zip(columns, map(words, re.findall("(?s)<td.*?</td>", markup)), strict=True))
        assert (cells["known"] == "—") == (cells["command"] != "search")
        assert (cells["top1"] == "—") == (cells["command"] != "train")
        folder = sweep / line.split()[0]
        result = read(folder / "result.json")
        for key in ("params", "flops"):
            assert key not in result or f"{result[key]:,}" in line
        if "test_top1" in result:
            assert f" {result['test_top1']:.2f} " in line
    assert "−0.75" in next(line for line in lines if line.startswith("search/a1 "))


def test_seeds_are_grouped(page: str) -> None:
    text = words(section(page, "seeds"))
    size = "78,042 12,500,000 —"
    distilled = f"kd, short train resnet8 3 {size} 71.0 ± 1.0 [68.5, 73.5] 70.0 · 71.0 · 72.0 —"
    assert f"resnet8, resnet56, {distilled}" in text
    assert f"resnet8, alone, short train resnet8 2 {size} 60.50 ± 0.71" in text
    assert "−0.50 ± 0.25" in text
    assert "budget.params=123456" in text
    assert "shuffle_seed" not in text
    assert "(3 seeds)" in words(section(page, "summary"))


def test_architectures_are_not_averaged(search_run: Path, tmp_path: Path) -> None:
    found = read(search_run / "result.json")
    for seed, params in enumerate((found["params"], found["params"], 7)):
        arch = found["arch"] if seed < 2 else "s0:other"
        copied(search_run, tmp_path / str(seed), seed, arch=arch, params=params)
    text = words(section(reported(tmp_path), "seeds"))
    label = "s0, resnet8, diswot, evolution search"
    assert f"{label} {found['arch']} 2 {found['params']:,} " in text
    assert f"{label} s0:other 1 7 " in text


def test_sizes_of_all_runs(page: str, sweep: Path) -> None:
    fronts = section(page, "fronts")
    assert fronts.count("<svg") == 2 * 3
    result = read(sweep / "search/a1/result.json")
    largest = result["largest"]
    size = f"{largest['params']:,} parameters, {largest['flops']:,} MACs"
    assert f"<title>{largest['arch']}: {largest['score']:.5g}, {size} (largest" in fronts
    assert f"<title>{result['arch']}: -0.75, {result['params']:,} parameters" in fronts
    for seed, top1 in enumerate(("70", "71", "72")):
        who = f"trained, resnet8, resnet56, kd, short, seed {seed}"
        line = f"<title>resnet8: {top1}, 78,042 parameters, 12,500,000 MACs ({who})"
        assert fronts.count(line) == 3
    for label in ("found", "largest scored", "trained"):
        assert f">{label}</text>" in fronts


def test_rankings_show_size_beside_the_proxies(page: str, sweep: Path) -> None:
    rankings = section(page, "rankings")
    rows = list(csv.DictReader((sweep / "rank/rank.csv").read_text("utf-8").splitlines()))
    assert {"params", "flops", "random"} <= {row["proxy"] for row in rows}
    for row in rows:
        low, high = (f"{float(row[f'spearman_{end}']):.2f}" for end in ("lo", "hi"))
        line = f"{row['proxy']} {float(row['spearman']):.3f} [{low}, {high}]".replace("-", "−")
        assert line in words(rankings)
    assert rankings.count("<svg") == len({(row["dataset"], row["target"]) for row in rows})


def test_pictures_of_every_group(page: str) -> None:
    searches, trainings = section(page, "searches"), section(page, "trainings")
    assert searches.count("<svg") == 2 * 3
    assert trainings.count("<svg") == 2 * 3
    for label in ("front of score and size", "found", "seed 0", "seed 2", "budget 123,456"):
        assert f">{label}</text>" in searches
    assert 'aria-label="Accuracy (cifar100, distilled) against score"' in searches
    assert "the published table in the package" in searches
    similarity = section(page, "similarity")
    for kind in ("relation", "semantic"):
        for whose in ("teacher", "student", "|teacher − student|"):
            assert similarity.count(f">{kind}: {whose}</text>") == 2


def test_searches_say_how_firm_their_answer_is(page: str, sweep: Path) -> None:
    text = words(section(page, "searches"))
    result = read(sweep / "search/a1/result.json")
    largest, groups = result["largest"], 2
    line = f"parameters alone would choose {largest['arch']}: {largest['params']:,} parameters"
    for seed in range(3):
        assert text.count(f"seed {seed}: Of those scored, {line}") == groups
    assert f"by diswot it is number {result['largest_place']}." in text
    assert result["validated"]
    for each in result["validated"]:  # once for all seeds
        assert text.count(f"({each['dataset']} {each['target']}): Spearman") == groups
        assert f"{each['spearman']:.2f} [{each['low']:.2f}, {each['high']:.2f}]" in text


def test_the_page_is_whole_and_asks_nobody(page: str) -> None:
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    used = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', page)
    assert used
    assert {a or b for a, b in used} <= set(ids)
    assert len(page.encode()) < LIMIT
    assert page.count("<script") == 1
    assert "default-src 'none'" in page
    assert not re.findall(r'\b(?:src|href|action)="(?!#|data:)|@import|url\((?!#)', page)


def test_what_differs_comes_before_all_settings(page: str) -> None:
    first, _, rest = section(page, "settings").partition("All of each")
    assert "budget.params" in first
    assert "strategy.population" not in first
    assert rest.count("<details>") == 12
    assert "strategy.population" in rest
    assert "version of torch" in rest


def test_the_same_runs_give_the_same_bytes(report: Path, sweep: Path, tmp_path: Path) -> None:
    assert main([str(sweep), "--output", str(tmp_path / "again.html")]) == 0
    assert (tmp_path / "again.html").read_bytes() == report.read_bytes()
    assert not list(sweep.rglob("report.html"))


def test_names_are_text(search_run: Path, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    run = copied(search_run, tmp_path / "<img src=x onerror=alert(2)>", 0, arch=evil, proxy=evil)
    teacher = {"name": f"{evil}$x_\x01\"'", "weights": evil}
    configured(run, teacher=teacher, proxy={evil: {}})
    lines = (run / "candidates.csv").read_text().replace("s0:", f"{evil}:")
    (run / "candidates.csv").write_text(lines)
    trained = make_train(tmp_path / "train", 1, 50.0)
    journal = (trained / "epochs.jsonl").read_text().replace('"ce"', '"<script>$x_"')
    (trained / "epochs.jsonl").write_text(re.sub(r',"crc32":\d+', "", journal))  # as of before
    page = reported(tmp_path)
    assert page.count("<script") == 1
    assert "<img" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "&lt;script&gt;$x_" in page


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
    for text in ("0.812 ± 0.020 [0.750, 0.880]", "(0.85 ± 0.01)", "<b>predicts</b>"):
        assert text in shown
    assert "0.812" in (table / "table.md").read_text(encoding="utf-8")
    page = (table / "report.html").read_text(encoding="utf-8")
    text = words(page)
    assert "ours 0.812 ± 0.020 [0.750, 0.880] published 0.85 ± 0.01 1 −0.038" in text
    assert "other no figure 2" in text
    assert "Scale: 2 cores: 8 images. Measured 2026-01-02, 3 seeds." in text
    assert '<li id="note-1-1">Someone, 2023, Table 1. no seeds stated</li>' in page
    assert "<b>" not in page
    assert all(f'id="{name}"' in page for name in ("table-1", "runs"))


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("paper.csv", "row,column\n", "paper.csv"),
        ("table.yaml", "title: [", "table.yaml"),
        ("results.csv", RESULTS.replace("0.812", "high"), "results.csv, line 2"),
    ],
)
def test_damaged_tables(
    name: str, text: str, problem: str, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (table / name).write_text(text, encoding="utf-8")
    assert main([str(table)]) == 2
    assert problem in capsys.readouterr().err
    assert not (table / "report.html").exists()
    before = (table / "results.csv").read_bytes()
    assert main([str(table), "--collect"]) == 2
    assert ("nowhere" if name != "table.yaml" else "table.yaml") in capsys.readouterr().err
    assert (table / "results.csv").read_bytes() == before
