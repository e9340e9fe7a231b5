"""The published figures of S0, and where a found architecture stands among them."""

import csv
import hashlib
import json
from importlib.resources import files
from pathlib import Path

import pytest
from benchmark_helpers import best_of
from scipy.stats import spearmanr

import diswot
from diswot.accuracies import Benchmark, benchmark_of, standings
from diswot.commands import compose
from diswot.errors import UserError


@pytest.fixture(scope="module")
def s0() -> Benchmark:
    return benchmark_of(compose("rank", ["space=s0"], None))


def test_figures(s0: Benchmark) -> None:
    assert len(s0.archs()) == 64
    assert s0.entries() == [("cifar100", "vanilla"), ("cifar100", "distilled")]
    assert s0.accuracy("s0:1-1-1", "cifar100") == 60.2
    assert s0.accuracy("s0:1-1-1", "cifar100", "distilled") == 61.87


def test_notice_names_the_file() -> None:
    assets = files("diswot") / "assets"
    digest = hashlib.sha256((assets / "s0_cifar100.csv").read_bytes()).hexdigest()
    notice = (assets / "NOTICE").read_text(encoding="utf-8")
    assert f"sha256:  {digest}" in notice
    assert "lilujunai/DisWOT-CVPR2023 (Apache-2.0)" in notice


@pytest.mark.data
def test_equals_the_source(s0: Benchmark, data_root: Path) -> None:
    with (data_root / "benchmarks" / "s0_cifar100.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 64
    for row in rows:
        arch = "s0:{depth1}-{depth2}-{depth3}".format(**row)
        assert s0.accuracy(arch, "cifar100") == float(row["vanilla_top1"])
        assert s0.accuracy(arch, "cifar100", "distilled") == float(row["kd_top1"])


@pytest.mark.slow
def test_semantic_similarity_ranks_s0(s0: Benchmark, tmp_path: Path) -> None:
    """Channel form, 100 classes, embedded images, ResNet-56; measurements.md has more seeds."""
    found = diswot.find_student(
        space="s0",
        teacher="resnet56",
        proxy="semantic",
        strategy="exhaustive",
        overrides=["proxy.semantic.form=channel", "num_classes=100", "workers=1"],
        run_dir=tmp_path,
    )
    assert found.summary["evaluated"] == 64
    journal = (tmp_path / "candidates.jsonl").read_text(encoding="utf-8")
    records = [json.loads(line) for line in journal.splitlines()]
    accuracies = [s0.accuracy(record["arch"], "cifar100", "distilled") for record in records]
    scores = [record["score"] for record in records]
    assert spearmanr(scores, accuracies).statistic >= 0.8


def test_an_arch_stands_among_all_and_beside_the_best_in_reach(
    s0: Benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    best, accuracy = best_of(s0, "cifar100", "distilled")
    standing = standings(s0, best, lambda arch: arch != best)[1]
    assert (standing.dataset, standing.target) == ("cifar100", "distilled")
    assert (standing.accuracy, standing.rank, standing.count) == (accuracy, 1, 64)
    assert standing.best_arch not in {None, best}
    assert standing.best_accuracy is not None
    assert standing.best_accuracy <= accuracy
    below = [arch for arch in s0.archs() if s0.accuracy(arch, "cifar100") < 70]
    vanilla, _ = standings(s0, "s0:1-1-1", lambda arch: arch in below)
    assert vanilla.best_arch == max(below, key=lambda arch: s0.accuracy(arch, "cifar100"))
    assert vanilla.rank == 64
    none, _ = standings(s0, "s0:1-1-1", lambda arch: False)
    assert (none.best_arch, none.best_accuracy) == (None, None)
    with pytest.raises(UserError, match="not among its 64"):
        standings(s0, "s0:2-2-2", lambda arch: True)
    monkeypatch.setattr(type(s0), "lookup", lambda *_: 50.0)
    # Equals share the best place.
    assert {each.rank for each in standings(s0, "s0:7-7-7", lambda arch: True)} == {1}


SEARCH = {"space": "s0", "teacher": "none", "proxy": "params"}
SMALL = ["data.image_size=16", "data.batch_size=8", "workers=1", "strategy.evaluations=4"]


def test_a_search_tells_what_it_found_scores_when_trained(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    limits = {"strategy": "exhaustive", "budget": {"params": 2e5}, "overrides": SMALL[:-1]}
    found = diswot.find_student(**SEARCH, **limits, run_dir=tmp_path, quiet=False)
    assert found.summary["benchmark"]["source"] == "the published table in the package"
    vanilla, distilled = found.summary["benchmark"]["standings"]
    assert found.params <= 2e5
    assert distilled["accuracy"] <= distilled["best_accuracy"]
    assert distilled["best_arch"] in (tmp_path / "candidates.csv").read_text()
    shown = capfd.readouterr().out
    assert f"{vanilla['accuracy']:.2f} %" in shown
    assert f"{distilled['rank']} of 64" in shown
    saved = json.loads((tmp_path / "result.json").read_text())
    assert saved["benchmark"] == found.summary["benchmark"]


@pytest.mark.parametrize(
    "further", [["~benchmark"], ["space.depths=[2,4]"], ["space.widths=[4,4,8,8]"]]
)
def test_without_known_accuracies_a_search_says_nothing_of_them(further: list[str]) -> None:
    found = diswot.find_student(**SEARCH, strategy="random", overrides=[*SMALL, *further])
    assert found.summary["benchmark"] is None


def test_wrong_settings_of_the_benchmark_stop_a_search() -> None:
    with pytest.raises(UserError, match="benchmark=s0 knows architectures of space s0, not of s1"):
        diswot.find_student(**SEARCH | {"space": "s1"}, overrides=[*SMALL, "benchmark=s0"])
