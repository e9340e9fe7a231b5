"""Groups, figures over seeds and plots, by hand."""

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from diswot.reporting.page.facts import Group, SeedFigure, differences, group_runs
from diswot.reporting.page.pareto import pareto_pictures
from diswot.reporting.page.pictures import Pictures, similarity_pictures
from diswot.reporting.plots import distinct, front, plot_course, plot_size
from diswot.runs import (
    CandidateRecord,
    Contestant,
    Estimate,
    RaceSummary,
    Run,
    SearchSummary,
    TrainSummary,
)


def candidate(
    arch: str, score: float | None, params: int | None, generation: int = 0
) -> CandidateRecord:
    rest = (None, None, "ok", None, generation, False, 0.0)
    return CandidateRecord(arch, score, {}, {}, params, *rest)


RECORDS = [
    *(candidate("a", 1.0, 10), candidate("b", 3.0, 30), candidate("c", 2.0, 30, 1)),
    *(candidate("failed", None, None, 1), candidate("d", 3.0, 20, 1), candidate("a", 1.0, 10, 2)),
    candidate("e", 0.5, 40, 2),
]


def run(seed: int, score: float = 1.0, **config: object) -> Run:
    settings = {"strategy": {"name": "random"}, "seed": seed, **config}
    names: Any = dict.fromkeys(("space", "arch", "proxy", "strategy", "data"), "x")
    counts = ("params", "flops", "evaluated", "distinct", "rejected", "seconds", "num_classes")
    names |= {**dict.fromkeys(counts, 1), "exhausted": False, "candidates_per_second": 1.0}
    summary = SearchSummary(**names, score=score, teacher=None, seed=seed, top=[])
    return Run(Path(f"r{seed}"), "search", "finished", None, settings, summary)


def test_course_is_the_running_best() -> None:
    assert [*distinct(RECORDS)["arch"]] == ["b", "d", "c", "a", "e"]
    assert [*front(distinct(RECORDS))["arch"]] == ["a", "d"]
    plot_course(axes := Figure().subplots(), {"": RECORDS})
    best, means = axes.get_lines()
    assert list(best.get_ydata()) == [1.0, *[3.0] * 6]
    assert list(means.get_ydata()) == pytest.approx([1, 3, 2, math.nan, 3, 1, 0.5], nan_ok=True)
    plot_course(Figure().subplots(), {"none": [candidate("x", None, None)]})
    many = [candidate(f"x{i}", 10.0 ** (9 * i), i + 1) for i in range(12)]
    plot_course(axes := Figure().subplots(), {"": many})  # of many magnitudes
    assert axes.get_yscale() == "log"
    assert len(axes.get_yticks()) < 10


def test_params_show_found_front_and_a_budget_at_hand() -> None:
    plot_size(axes := Figure().subplots(), {"": RECORDS}, {"budget": 40, "teacher": 30})
    labels = axes.get_legend_handles_labels()[1]
    assert set(labels) == {"front of score and size", "found", "budget 40", "teacher 30"}
    assert axes.collections[-1].get_offsets().tolist() == [[30 / 1e6, 3.0]]
    plot_size(axes := Figure().subplots(), {"": RECORDS}, {"budget": 5e5})  # far away
    assert "budget 500,000 →" in axes.get_legend_handles_labels()[1]
    assert axes.get_xlim()[1] < 80 / 1e6


def test_other_costs_have_axes_of_their_own() -> None:
    timed = [replace(record, latency_ms=9.0 - record.params / 10) for record in RECORDS[:3]]
    lines = {"budget": 7.5, "teacher": 90}
    plot_size(axes := Figure().subplots(), {"": [*timed, RECORDS[-1]]}, lines, "latency_ms")
    assert axes.get_xlabel() == "latency (ms)"
    (front_line, *_) = axes.get_lines()
    assert front_line.get_xydata().tolist() == [[6.0, 3.0]]
    labels = axes.get_legend_handles_labels()[1]
    assert {"budget 7.5", "teacher 90.0 →"} <= {*labels}


def test_fronts_against_latency() -> None:
    timed = [replace(record, latency_ms=i + 1.0) for i, record in enumerate(RECORDS)]
    one = run(0)
    pictures = Pictures("a", "a", searches={"seed 0": timed})
    (drawn,) = pareto_pictures([(Group("a", "search", (one,)), pictures)], [], {})
    labels = [panel.label for panel in drawn.panels]
    assert "Score by x against latency, ms" in labels
    svg = drawn.panels[labels.index("Score by x against latency, ms")].svg
    titles = set(re.findall("<title>(.*?)</title>", svg))
    assert {title[:4] for title in titles} == {"a: 1", "b: 3"}
    assert any(title.endswith(", 1 ms (a, seed 0)") for title in titles)


def test_many_records_become_one_image_and_what_cannot_be_drawn_a_note() -> None:
    records = [candidate(f"x{i}", float(i % 97), i + 1, i // 100) for i in range(15_000)]
    pictures = Pictures("many", "many")
    with pictures.draw("infinite") as axes:
        axes.set_xlim(0, math.inf)
    with pictures.draw("many") as axes:
        plot_size(axes, {"": records})
    (panel,) = pictures.panels
    assert "data:image/png" in panel.svg
    assert len(panel.svg) < 200_000
    assert pictures.notes == ["No picture “infinite”: Axis limits cannot be NaN or Inf."]


def test_similarity_shares_its_colours(tmp_path: Path) -> None:
    teacher, student = np.eye(3), np.full((3, 3), 5.0)
    matrices = {"relation_teacher": teacher, "relation_student": student}
    np.savez(tmp_path / "similarity.npz", **matrices)  # type: ignore[arg-type]
    alone = Run(tmp_path, "search", "unfinished", None, {"seed": 0})
    pictures = similarity_pictures(Group("", "search", (alone,)), "s")
    one, two, apart = (panel.svg for panel in pictures.panels)
    assert all(f">{tick}</text>" in svg for svg in (one, two) for tick in (0, 5))
    assert "image/png" in apart
    assert pictures.notes == ["seed 0, student not known yet."]


def test_fronts_of_searches_and_the_teacher_of_a_training() -> None:
    taught: Any = {"teacher": "big", "data": "x", "seed": 0, "params": 20, "flops": 9}
    names = ("student", "validated_on", "space")
    counts = ("epochs", "test_top5", "best_val_top1", "images_per_second", "seconds")
    taught |= {**dict.fromkeys(names, "d"), **dict.fromkeys(counts, 1), "distiller": ["kd"]}
    trained = TrainSummary(**taught, test_top1=70.0, teacher_top1=80.0)
    found = run(0).summary
    assert isinstance(found, SearchSummary)
    known = {"teacher": "big", "teacher_params": 500, "space": "d", "arch": "d", "params": 20}
    found = replace(found, **known)
    groups = [
        Group("g", name, (Run(Path(), name, "finished", None, {"seed": 0}, summary),))
        for name, summary in (("search", found), ("train", trained))
    ]
    drawn = Pictures("", "", searches={"seed 0": RECORDS})
    measured, scored = pareto_pictures([(groups[0], drawn)], groups[1:], {})
    titles = [set(re.findall("<title>(.*?)</title>", p.panels[0].svg)) for p in (measured, scored)]
    own = "d: 70, 20 parameters, 9 MACs"
    assert titles[0] == {
        *(f"{own} (trained, g, seed 0)", f"{own} (found, g, seed 0)"),
        "big: 80, 500 parameters (teacher)",
    }
    assert {title.partition(",")[0] for title in titles[1]} == {
        "a: 1",
        "d: 3",
        "d: 1",
        "big: no score",
    }
    assert measured.key == [("#1f77b4", "g")]


def test_a_race_has_a_front_for_each_rung() -> None:
    def contestant(arch: str, rung: int, top1: float, seeds: int) -> Contestant:
        return Contestant(arch, rung, 1.0, None, Estimate(top1, None, seeds), None, 20, 9, 3.0)

    made = [contestant("a", 2, 70.0, 3), contestant("c", 2, 69.0, 3), contestant("b", 1, 30.0, 1)]
    nothing = dict.fromkeys(("margin", "teacher", "teacher_weights", "teacher_top1"))
    counts = dict.fromkeys(("params", "flops", "images", "trained", "seed", "seeds", "seconds"), 1)
    words: Any = dict.fromkeys(("space", "data", "protocol", "validated_on"), "x")
    race = RaceSummary(
        **{**nothing, **counts, **words, "distiller": []},
        **{"arch": "a", "test_top1": 70.0, "control": "c", "contestants": made, "rungs": [1, 4]},
    )
    (pictures,) = pareto_pictures([], [], {"r": race})
    titles = set(re.findall("<title>(.*?)</title>", pictures.panels[0].svg))
    assert titles == {
        "a: 70, 20 parameters, 9 MACs (winner, r, rung 2 (4 epochs), mean of 3 seeds)",
        "c: 69, 20 parameters, 9 MACs (control, r, rung 2 (4 epochs), mean of 3 seeds)",
        "b: 30, 20 parameters, 9 MACs (trained, r, rung 1 (1 epochs))",
    }


def test_groups_differ_in_more_than_the_seed() -> None:
    runs = [run(0, 1.0), run(1, 2.0), run(0, 3.0, workers=4), run(2, 4.0, budget={"params": 9})]
    first, second = group_runs(runs)
    assert [each.result["score"] for each in first.runs] == [1.0, 2.0]
    assert first.left_out == 1  # workers change nothing: it is seed 0 again
    assert second.label == "random, budget.params=9"
    runs = [run(i, strategy={"name": "random", "evaluations": 9 + i % 2}) for i in range(3)]
    labels = [(group.label, len(group.runs)) for group in group_runs(runs)]
    assert labels == [("random, strategy.evaluations=9", 2), ("random, strategy.evaluations=10", 1)]


@pytest.mark.parametrize("key", ["protocol", "trainer"])
def test_labels_of_trainings_name_their_protocol(key: str) -> None:
    config = {"student": {"name": "resnet8"}, "distiller": {"kd": {}}, key: {"name": "crd"}}
    (group,) = group_runs([Run(Path("r"), "train", "unfinished", None, config)])
    assert group.label == "resnet8, kd, crd"


def test_differences_begin_with_what_tells_runs_apart() -> None:
    def settings(seed: int, name: str, proxy: dict[str, Any]) -> dict[str, Any]:
        return {
            **{"strategy": {"_target_": f"x.{name}", "name": name, "size": 3}, "proxy": proxy},
            **{"benchmark": {"name": name}, "aside": {"x": seed}, "data": {"shuffle_seed": seed}},
            **{"logger": {"csv": {"name": name}}, "workers": seed, "debug": name},
        }

    first = settings(0, "random", {"a": {"x": 1, "y": 2}, "b": {"z": 1}})
    second = settings(1, "evolution", {"a": {"x": 2, "y": 2}})
    assert list(differences([run(0, **first), run(1, **second)]).items()) == [
        *(("proxy", ["a+b", "a"]), ("proxy.a.x", ["1", "2"])),
        *(("strategy.name", ["random", "evolution"]), ("seed", ["0", "1"])),
        *(("aside.x", ["0", "1"]), ("benchmark.name", ["random", "evolution"])),
    ]
    same = [run(0, strategy={"_target_": name, "name": "random"}) for name in "ab"]
    assert list(differences(same)) == ["strategy._target_"]
    configs = [{"seeds": 1, "benchmark": {"source": each}, "workers": each} for each in "ab"]
    rankings = [Run(Path(), "rank", "unfinished", None, config) for config in configs]
    assert differences(rankings) == {"benchmark.source": ["a", "b"]}


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ((5.0,), ("5", "", "")),
        ((1.0, 2.0), ("1.50 ± 0.71", "", "1.00 · 2.00")),
        ((661338.0, 661338.0), ("661,338 ± 0", "", "")),
        ((5e7, 6e7), ("55.0 M ± 7.1 M", "", "50.0 M · 60.0 M")),
        ((1e103, 3e103), ("2e+103 ± 1.41e+103", "", "1e+103 · 3e+103")),
        ((1.0, 2.0, 4.0), ("2.3 ± 1.5", "[−1.5, 6.1]", "1.0 · 2.0 · 4.0")),
        ((-1.0, -2.0, -3.0), ("−2.0 ± 1.0", "[−4.5, 0.5]", "−1.0 · −2.0 · −3.0")),
    ],
)
def test_figures_are_readable(values: tuple[float, ...], shown: tuple[str, str, str]) -> None:
    figure = SeedFigure(values)
    assert (figure.text, figure.interval, figure.each) == shown
