"""Fronts, courses, spreads, pictures and heat maps by hand."""

from __future__ import annotations

import base64
import io
import math
import statistics
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from diswot.reporting.page.groups import Group, differences, groups
from diswot.reporting.page.heat import heat_maps
from diswot.reporting.page.spread import spread
from diswot.reporting.page.svg import panel
from diswot.reporting.search_plot import Point, distinct, front, plot_course, plot_params
from diswot.runs import Run

POINTS = [
    Point("a", 1.0, 10, 0),
    Point("b", 3.0, 30, 0),
    Point("c", 2.0, 30, 1),
    Point("failed", None, None, 1),
    Point("d", 3.0, 20, 1),
    Point("a", 1.0, 10, 2),
    Point("e", 0.5, 40, 2),
]


def run(seed: int, score: float, **config: object) -> Run:
    settings = {"strategy": {"name": "random"}, "seed": seed, **config}
    return Run(Path(f"r{seed}"), "search", "finished", None, settings, {"score": score})


def test_distinct_is_best_first_and_front_smallest_first() -> None:
    assert [point.arch for point in distinct(POINTS)] == ["b", "d", "c", "a", "e"]
    assert [point.arch for point in front(POINTS)] == ["a", "d"]
    assert front([]) == []


def test_course_is_the_running_best() -> None:
    axes = Figure().subplots()
    plot_course(axes, {"": POINTS})
    best, means = axes.get_lines()
    assert list(zip(*best.get_data(), strict=True)) == [(1, 1.0), (2, 3.0), (7, 3.0)]
    assert list(means.get_ydata()) == [1.0, 3.0, 2.0, 3.0, 1.0, 0.5]
    plot_course(Figure().subplots(), {"none": [Point("x", None, None, 0)]})


def test_params_show_found_front_and_budget() -> None:
    axes = Figure().subplots()
    plot_params(axes, {"": POINTS}, 40)
    labels = axes.get_legend_handles_labels()[1]
    assert set(labels) == {"front of score and size", "found", "budget 40"}
    star = axes.collections[-1].get_offsets()
    assert star.tolist() == [[30 / 1e6, 3.0]]


def test_a_budget_far_away_does_not_squeeze_the_networks() -> None:
    axes = Figure().subplots()
    plot_params(axes, {"": POINTS}, 5e5)
    assert "budget 500,000 →" in axes.get_legend_handles_labels()[1]
    assert axes.get_xlim()[1] < 80 / 1e6


def test_scores_of_many_magnitudes_get_a_logarithmic_axis() -> None:
    axes = Figure().subplots()
    plot_course(axes, {"": [Point(f"x{i}", 10.0**i, i + 1, 0) for i in range(9)]})
    assert axes.get_yscale() == "log"


def test_many_points_become_one_image() -> None:
    points = [Point(f"x{i}", float(i % 97), i + 1, i // 100) for i in range(15_000)]
    with panel("many", "many") as drawn:
        plot_params(drawn.axes, {"": points})
    assert "data:image/png" in drawn.svg
    assert len(drawn.svg) < 200_000


def test_groups_differ_in_more_than_the_seed() -> None:
    runs = [run(0, 1.0), run(1, 2.0), run(0, 3.0, workers=4), run(2, 4.0, budget={"params": 9})]
    first, second = groups(runs)
    assert [each.result["score"] for each in first.runs] == [1.0, 2.0]
    assert first.left_out == 1  # workers change nothing: it is seed 0 again
    assert second.label == "random, budget.params=9"


def test_differences_name_members_and_compare_settings() -> None:
    runs = [
        run(0, 1.0, proxy={"a": {"x": 1, "y": 2}, "b": {"z": 1}}, data={"shuffle_seed": 0}),
        run(1, 1.0, proxy={"a": {"x": 2, "y": 2}}, data={"shuffle_seed": 1}),
    ]
    assert differences(runs) == {
        "proxy": ["a+b", "a"],
        "proxy.a.x": ["1", "2"],
        "seed": ["0", "1"],
    }


def test_differences_begin_with_what_tells_runs_apart() -> None:
    def one(name: str, seed: int) -> Run:
        named = {"_target_": f"x.{name}", "name": name, "size": 3}
        told = {"logger": {"csv": {"name": name}}, "workers": seed, "debug": name}
        return run(seed, 1.0, strategy=named, benchmark={"name": name}, aside={"x": seed}, **told)

    assert list(differences([one("random", 0), one("evolution", 1)])) == [
        *("strategy.name", "seed", "aside.x", "benchmark.name"),
    ]
    same = [run(0, 1.0, strategy={"_target_": name, "name": "random"}) for name in "ab"]
    assert list(differences(same)) == ["strategy._target_"]


def test_differences_of_rankings_name_their_accuracies() -> None:
    def one(source: str) -> Run:
        config = {"seeds": 1, "benchmark": {"name": "s0", "source": source}, "workers": source}
        return Run(Path(source), "rank", "finished", None, config, {})

    assert differences([one("csv"), one("analog")]) == {"benchmark.source": ["csv", "analog"]}


def test_searches_of_other_lengths_are_no_seeds_of_one() -> None:
    runs = [run(i, 1.0, strategy={"name": "random", "evaluations": 9 + i % 2}) for i in range(3)]
    labels = [(group.label, len(group.runs)) for group in groups(runs)]
    assert labels == [
        ("random, strategy.evaluations=9", 2),
        ("random, strategy.evaluations=10", 1),
    ]


def test_spread_is_over_seeds() -> None:
    values = (1.0, 2.0, 4.0)
    group = Group("", "search", tuple(run(i, v) for i, v in enumerate(values)), 0)
    found = spread(group)["score"]
    assert found.mean == statistics.fmean(values)
    assert found.std == pytest.approx(math.sqrt(7 / 3))
    half = 4.302652729696142 * math.sqrt(7 / 3) / math.sqrt(3)
    assert (found.low, found.high) == pytest.approx((7 / 3 - half, 7 / 3 + half))
    assert found.text == "2.3 ± 1.5"
    assert spread(Group("", "search", (run(0, 5.0),), 0))["score"].text == "5"
    two = spread(Group("", "search", (run(0, 1.0), run(1, 2.0)), 0))["score"]
    assert (two.text, two.interval, two.each) == ("1.50 ± 0.71", "", "1.00 · 2.00")
    huge = tuple(run(i, 1e308) for i in range(3))
    assert "score" not in spread(Group("", "search", huge, 0))
    alike = spread(Group("", "search", (run(0, 661338.0), run(1, 661338.0)), 0))["score"]
    assert (alike.text, alike.interval, alike.each) == ("661,338 ± 0", "", "")


def test_panels_carry_the_pages_colours_and_no_styles_of_others() -> None:
    with panel("p1", 'a "label"') as drawn:
        drawn.axes.plot([0, 1], [0, 1], color="C0", label="</text><script>$\x00")
        drawn.axes.legend()
    assert "<script" not in drawn.svg
    assert "&lt;/text&gt;&lt;script&gt;$\ufffd<" in drawn.svg
    assert "var(--c0)" in drawn.svg
    assert "#1f77b4" not in drawn.svg
    assert "<style" not in drawn.svg
    assert "font-family" not in drawn.svg
    assert 'id="p1-figure_1"' in drawn.svg
    assert 'aria-label="a &quot;label&quot;"' in drawn.svg


def test_heat_maps_share_their_colours() -> None:
    teacher, student = np.eye(300), np.full((300, 300), 0.5)
    first, second, apart = heat_maps(teacher, student)
    assert (first.low, first.high) == (second.low, second.high) == (0.0, 1.0)
    assert apart.high == 0.5
    assert "3×3" in first.note
    with Image.open(io.BytesIO(base64.b64decode(first.uri.partition(",")[2]))) as image:
        assert image.size == (100, 100)
        pixels = np.asarray(image.convert("RGB"))
    assert len({tuple(pixels[0, 0]), tuple(pixels[0, 1])}) == 2
    flat = heat_maps(np.zeros((2, 2)), np.zeros((2, 2)))
    assert flat[2].high == 0.0
