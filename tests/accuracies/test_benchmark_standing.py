"""What a found architecture really scores, and how a search says it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import diswot
from diswot.accuracies import Benchmark, benchmark_of
from diswot.accuracies.standing import standings
from diswot.commands import compose
from diswot.errors import UserError


@pytest.fixture(scope="module")
def s0() -> Benchmark:
    return benchmark_of(compose("rank", ["space=s0"], None))


def test_an_arch_stands_among_all_and_beside_the_best_in_reach(s0: Benchmark) -> None:
    best, accuracy = s0.best("cifar100", "distilled")
    found = standings(s0, best, lambda arch: arch != best)[1]
    assert (found.dataset, found.target) == ("cifar100", "distilled")
    assert (found.accuracy, found.rank, found.count) == (accuracy, 1, 64)
    assert found.best_arch not in {None, best}
    assert found.best_accuracy is not None
    assert found.best_accuracy <= accuracy


def test_the_best_in_reach_is_the_first_that_keeps_the_budget(s0: Benchmark) -> None:
    below = [arch for arch in s0.archs() if s0.accuracy(arch, "cifar100") < 70]
    vanilla, _ = standings(s0, "s0:1-1-1", lambda arch: arch in below)
    assert vanilla.best_arch == max(below, key=lambda arch: s0.accuracy(arch, "cifar100"))
    assert vanilla.rank == 64
    none, _ = standings(s0, "s0:1-1-1", lambda arch: False)
    assert (none.best_arch, none.best_accuracy) == (None, None)


def test_equals_share_the_best_place(s0: Benchmark) -> None:
    class Flat(type(s0)):  # type: ignore[misc]
        def lookup(self, arch: str, dataset: str, target: str) -> float:
            return 50.0

    flat = Flat(name="s0", space="s0")
    assert {each.rank for each in standings(flat, "s0:7-7-7", lambda arch: True)} == {1}


def test_an_unknown_arch_is_refused(s0: Benchmark) -> None:
    with pytest.raises(UserError, match="not among its 64"):
        standings(s0, "s0:2-2-2", lambda arch: True)


SMALL = ["data.image_size=16", "data.batch_size=8", "workers=1", "strategy.evaluations=4"]


def test_a_search_tells_what_it_found_scores_when_trained(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    found = diswot.find_student(
        space="s0",
        teacher="none",
        proxy="params",
        strategy="exhaustive",
        budget={"params": 2e5},
        run_dir=tmp_path,
        overrides=SMALL[:-1],
        quiet=False,
    )
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
    found = diswot.find_student(
        space="s0",
        teacher="none",
        proxy="params",
        strategy="random",
        overrides=[*SMALL, *further],
    )
    assert found.summary["benchmark"] is None


def test_wrong_settings_of_the_benchmark_stop_a_search() -> None:
    with pytest.raises(UserError, match="benchmark=s0 knows architectures of space s0, not of s1"):
        diswot.find_student(
            space="s1", teacher="none", proxy="params", overrides=[*SMALL, "benchmark=s0"]
        )
