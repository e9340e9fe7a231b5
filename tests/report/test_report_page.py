"""What stands on the page, compared with the files of the runs."""

from __future__ import annotations

import csv
import html
import re
from pathlib import Path

import pytest
from report_helpers import configured, copied, make_train, read

from diswot.report import main

LIMIT = 3 * 2**20


@pytest.fixture(scope="module")
def page(sweep: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report of the sweep."""
    output = tmp_path_factory.mktemp("page") / "report.html"
    assert main([str(sweep), "--output", str(output)]) == 0
    return output.read_text(encoding="utf-8")


def section(page: str, name: str) -> str:
    return page.partition(f'<section id="{name}">')[2].partition("</section>")[0]


def words(markup: str) -> str:
    """What is read, without its tags."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", markup)).split())


def test_every_run_has_a_line_with_its_figures(page: str, sweep: Path) -> None:
    table = section(page, "runs").partition("<tbody>")[2]
    lines = [words(line) for line in table.split("</tr>")[:-1]]
    assert len(lines) == 12
    for line in lines:
        folder = sweep / line.split()[0]
        result = read(folder / "result.json")
        for key in ("params", "flops"):
            assert key not in result or f"{result[key]:,}" in line
        if "test_top1" in result:
            assert f" {result['test_top1']:.2f} " in line
    assert "−0.75" in next(line for line in lines if line.startswith("search/a1 "))


def test_seeds_are_grouped(page: str) -> None:
    told = words(section(page, "seeds"))
    assert (
        "resnet8, resnet56, kd, short train 3 — 71.0 ± 1.0 [68.5, 73.5] 70.0 · 71.0 · 72.0" in told
    )
    assert "resnet8, alone, short train 2 — 60.50 ± 0.71" in told
    assert "−0.50 ± 0.25" in told
    assert "budget.params=123456" in told
    assert "shuffle_seed" not in told
    assert "(3 seeds)" in words(section(page, "summary"))


def test_rankings_show_size_beside_the_proxies(page: str, sweep: Path) -> None:
    told = section(page, "rankings")
    with (sweep / "rank" / "rank.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {"params", "flops", "random"} <= {row["proxy"] for row in rows}
    for row in rows:
        shown = f"{float(row['spearman']):.3f}".replace("-", "−")
        low, high = (f"{float(row[f'spearman_{end}']):.2f}" for end in ("lo", "hi"))
        line = f"{row['proxy']} {shown} [{low}, {high}]".replace("-", "−")
        assert line in words(told)
    assert told.count("<svg") == len({(row["dataset"], row["target"]) for row in rows})


def test_pictures_of_every_group(page: str) -> None:
    searches, trainings = section(page, "searches"), section(page, "trainings")
    assert searches.count("<svg") == 2 * 3
    assert trainings.count("<svg") == 2 * 3
    for label in ("front of score and size", "found", "seed 0", "seed 2", "budget 123,456"):
        assert f">{label}</text>" in searches
    assert "the published table in the package" in searches
    assert section(page, "similarity").count("data:image/png") == 2 * 2 * 3


def test_ids_are_unique_and_references_lead_somewhere(page: str) -> None:
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    used = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', page)
    assert used
    assert {a or b for a, b in used} <= set(ids)


def test_what_differs_comes_before_all_settings(page: str) -> None:
    told = section(page, "settings")
    first, _, rest = told.partition("All of each")
    assert "budget.params" in first
    assert "strategy.population" not in first
    assert rest.count("<details>") == 12
    assert "strategy.population" in rest
    assert "version of torch" in rest


def test_the_page_is_whole_and_asks_nobody(page: str) -> None:
    assert len(page.encode()) < LIMIT
    assert page.count("<script") == 1
    assert "default-src 'none'" in page
    links = set(re.findall(r'\b(?:src|href|action)="(?!#|data:)([^"]*)"', page))
    assert not links
    assert "@import" not in page
    assert not re.findall(r"url\((?!#)", page)


def test_the_same_run_gives_the_same_bytes(search_run: Path, tmp_path: Path) -> None:
    files = [tmp_path / "here.html", tmp_path / "there.html"]
    assert main([str(search_run), "--output", str(files[0])]) == 0
    assert main([str(search_run), "--output", str(files[1])]) == 0
    assert files[0].read_bytes() == files[1].read_bytes()


def test_names_are_text(search_run: Path, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    run = copied(search_run, tmp_path / "x<script>alert(2)<", 0, arch=evil, proxy=evil)
    teacher = {"name": f"{evil}$x_\x01\"'", "weights": evil}
    configured(run, teacher=teacher, proxy={evil: {}})
    lines = (run / "candidates.csv").read_text().replace("s0:", f"{evil}:")
    (run / "candidates.csv").write_text(lines)
    trained = make_train(tmp_path / "train", 1, 50.0)
    journal = (trained / "epochs.jsonl").read_text().replace('"ce"', '"<script>$x_"')
    (trained / "epochs.jsonl").write_text(journal)
    assert main([str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("<script") == 1
    assert "&lt;script&gt;alert(1)" in page
    assert "&lt;script&gt;$x_" in page


def test_one_seed_has_no_spread(search_run: Path, tmp_path: Path) -> None:
    assert main([str(search_run), "--output", str(tmp_path / "one.html")]) == 0
    told = section((tmp_path / "one.html").read_text(encoding="utf-8"), "seeds")
    assert "±" not in words(told).partition("seconds")[2]
    assert not (search_run / "report.html").exists()
