"""Accuracies from a CSV file, a user's or the package's."""

import csv
import re
from pathlib import Path

import pytest
from benchmark_helpers import CELLS, best_of

from diswot.accuracies import Benchmark, benchmark_of
from diswot.accuracies.sources import is_live, is_unique
from diswot.accuracies.validated import validations
from diswot.commands import compose
from diswot.errors import UserError


def table(path: Path, *words: str, space: str = "s0") -> Benchmark:
    settings = [f"space={space}", "benchmark=table", f"benchmark.path={path}", *words]
    return benchmark_of(compose("rank", settings, None))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    rows = ["arch,params,kd,alone", "s0:1-1-1,9,50.5,40", "s0:1-1-3,9,60,", "s0:1-3-1,8,55,45"]
    path = tmp_path / "mine.csv"
    path.write_text("\n".join(rows))
    return path


def test_the_first_column_of_accuracies_is_reported(file: Path) -> None:
    mine = table(file)
    assert mine.archs() == ["s0:1-1-1", "s0:1-1-3", "s0:1-3-1"]
    assert mine.entries() == [("mine", "kd")]
    assert mine.accuracy("s0:1-1-1", "mine", "kd") == 50.5
    assert mine.source == str(file)


def test_architectures_that_lack_a_reported_target_are_left_out(file: Path) -> None:
    mine = table(file, "benchmark.targets=[alone,kd]", "benchmark.dataset=photos")
    assert mine.archs() == ["s0:1-1-1", "s0:1-3-1"]
    assert mine.entries() == [("photos", "alone"), ("photos", "kd")]


def test_columns_are_named(file: Path) -> None:
    mine = table(file, "benchmark.columns={distilled: kd}")
    assert best_of(mine, "mine", "distilled") == ("s0:1-1-3", 60.0)


@pytest.mark.parametrize(
    ("content", "words", "message"),
    [
        ("a,b\n1,2", [], "it has no column arch; it has a, b"),
        ("arch,params\ns0:1-1-1,5", [], "it has no column of accuracies"),
        (
            "arch,kd\ns0:1-1-1,5",
            ["benchmark.columns={x: y}"],
            "it has no column y; it has arch, kd",
        ),
        ("arch,kd\ns0:1-1-1,5", ["benchmark.targets=[y]"], r"targets=\['y'\]: allowed are kd"),
        ("arch,kd\ns0:1-1-1,5\ns0:1-1-1,6", [], "line 3 has an arch of a line above"),
        ("arch,kd\ns0:1-1-1,105", [], "line 2 has .*105.* as kd, no number from 0 to 100"),
        ("arch,kd\ns0:1-1-1,high", [], "line 2 has 'high' as kd"),
        ("", [], "cannot be used"),
        ("arch,kd\ns0:1-1-1,5,6", [], "a line has more cells than there are columns"),
        (f"arch,kd\ns0:1-1-1,{'9' * 400}", [], "a number of kd is too large"),
    ],
)
def test_a_file_that_cannot_be_used(
    tmp_path: Path, content: str, words: list[str], message: str
) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        table(path, *words)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        table(tmp_path / "none.csv")
    with pytest.raises(UserError, match=r"benchmark.path: not given; give a \.csv file"):
        benchmark_of(compose("rank", ["space=s0", "benchmark=table"], None))


def test_s1() -> None:
    s1 = benchmark_of(compose("rank", ["space=s1"], None))
    assert len(s1.archs()) == 40
    assert s1.entries() == [("cifar10", "distilled")]
    both = benchmark_of(
        compose("rank", ["space=s1", "benchmark.targets=[distilled,vanilla]"], None)
    )
    assert len(both.archs()) == 12
    assert set(both.archs()) < set(s1.archs())


@pytest.mark.data
def test_s1_equals_the_source(data_root: Path) -> None:
    s1 = benchmark_of(compose("rank", ["space=s1"], None))
    with (data_root / "benchmarks" / "s1_cifar10_kd.csv").open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["arch"] for row in rows] == s1.archs()
    for row in rows:
        assert s1.accuracy(row["arch"], "cifar10", "distilled") == float(row["kd_top1"])


def test_s1_small() -> None:
    small = benchmark_of(compose("rank", ["space=s1", "benchmark=s1_small"], None))
    assert len(small.archs()) == 60
    assert small.entries() == [("fashion_mini", "distilled")]


def test_live_cells() -> None:
    cells = ["|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"]
    cells += ["|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|"]
    assert all(map(is_live, cells))
    dead_end = "|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
    from_nothing = "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|nor_conv_1x1~2|"
    assert not any(map(is_live, [dead_end, from_nothing]))
    assert sum(map(is_live, CELLS)) == 9445


def exchanged(cell: str) -> str:
    """The same graph with its inner nodes, between which is no operation, exchanged."""
    a, b, none, d, e, f = re.findall(r"(\w+)~", cell)
    return f"|{b}~0|+|{a}~0|{none}~1|+|{d}~0|{f}~1|{e}~2|"


def test_unique_cells() -> None:
    conv, pool, skip = "nor_conv_3x3", "avg_pool_3x3", "skip_connect"
    pair = [f"|{conv}~0|+|{pool}~0|none~1|+|none~0|{skip}~1|{conv}~2|"]
    pair += [f"|{pool}~0|+|{conv}~0|none~1|+|none~0|{conv}~1|{skip}~2|"]
    symmetric = f"|{conv}~0|+|{conv}~0|none~1|+|{skip}~0|{pool}~1|{pool}~2|"
    ordered = pair[0].replace("none~1", f"{skip}~1")
    assert exchanged(pair[0]) == pair[1]
    assert list(map(is_unique, [*pair, symmetric, ordered])) == [False, True, True, True]
    live, unique = set(filter(is_live, CELLS)), set(filter(is_unique, CELLS))
    loose = {cell for cell in live if "none~1|+" in cell}
    assert len(unique) == len({frozenset((c, exchanged(c))) for c in loose} | (live - loose))
    assert len(unique) == 8765
    assert all(cell in unique or exchanged(cell) in unique for cell in loose)


def test_what_is_known_of_a_score_holds_for_its_own_settings() -> None:
    node = compose("search", ["proxy=nwot"], None)["proxy"]["nwot"]
    [distilled] = validations("s1", "nwot", node)
    assert (distilled.dataset, distilled.target, distilled.n) == ("cifar10", "distilled", 40)
    assert distilled.low < distilled.spearman < distilled.high < distilled.params
    assert validations("s2", "nwot", node) == []
    assert validations("s1", "nwot", {**node, "name": "mine"}) == []
    ensemble = compose("search", [], None)["proxy"]["recommended"]
    assert [each.n for each in validations("s0", "recommended", ensemble)] == [64, 64]
