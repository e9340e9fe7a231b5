"""Plots of a search: its course over time, its scores against size and against accuracy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Point", "distinct", "front", "plot_accuracy", "plot_course", "plot_params"]

_SCORE = "score (higher is better)"
_STEPS = 20  # means on one curve, at most
_MANY = 200  # points drawn as shapes; more become one image
_DECADES = 3  # of positive scores from which on their axis is logarithmic
_FAR = 2  # times the largest network, from which on a budget is named, not drawn


class Point(NamedTuple):
    """One candidate of a search; ``score`` is the final fitness, None where it has none."""

    arch: str
    score: float | None
    params: float | None
    generation: int


Searches = Mapping[str, Sequence[Point]]
"""Candidates in ask order; names are shown where there are several searches."""


def distinct(points: Sequence[Point]) -> list[Point]:
    """Every architecture that has score and size once, best first, ties in ask order."""
    known: dict[str, Point] = {}
    for point in points:
        if point.score is not None and point.params is not None:
            known.setdefault(point.arch, point)
    return sorted(known.values(), key=_score, reverse=True)


def front(points: Sequence[Point]) -> list[Point]:
    """Architectures of which none other is as small and scores higher, smallest first."""
    chosen: list[Point] = []
    for point in sorted(distinct(points), key=lambda point: (_params(point), -_score(point))):
        if not chosen or _score(point) > _score(chosen[-1]):
            chosen.append(point)
    return chosen


def plot_course(axes: Any, searches: Searches) -> None:
    """Best so far and mean of the candidates, in the order they were asked for."""
    several = len(searches) > 1
    for index, (name, points) in enumerate(searches.items()):
        block = max(math.ceil(len(points) / _STEPS), 1)
        mean = f"mean of every {block}" if block > 1 else "each candidate"
        scores = np.array([p.score for p in points], dtype=float)  # NaN of None
        parts = np.array_split(scores, range(block, len(scores), block))
        known = [part[~np.isnan(part)] for part in parts]
        axes.plot(
            range(1, len(scores) + 1),
            np.fmax.accumulate(scores),
            drawstyle="steps-post",
            color=f"C{index}" if several else "C3",
            label=name if several else "best so far",
        )
        axes.plot(
            np.cumsum([*map(len, parts)]),
            [part.mean() if len(part) else math.nan for part in known],
            color=f"C{index}" if several else "C0",
            alpha=0.5 if several else 0.8,
            linewidth=1,
            label=(None if index else f"thin: {mean}") if several else mean,
        )
    axes.set(xlabel="candidates asked for", ylabel=_SCORE)
    _finish(axes, axes.yaxis, searches)


def plot_params(axes: Any, searches: Searches, limit: float | None = None) -> None:
    """Score against parameters: all candidates, the one found, the front, the budget if any.

    Candidates of one search alone are coloured by generation.
    """
    several = len(searches) > 1
    for index, points in enumerate(searches.values()):
        ranking, best = distinct(points), front(points)
        sizes = [_params(point) / 1e6 for point in ranking]
        scores = [_score(point) for point in ranking]
        _scatter(axes, sizes, scores, ranking, f"C{index}" if several else None)
        axes.plot(
            [_params(point) / 1e6 for point in best],
            [_score(point) for point in best],
            drawstyle="steps-post",
            color=f"C{index}" if several else "C1",
            linewidth=1,
            label=None if index else "front of score and size",
        )
        _star(axes, sizes, scores, index)
    if limit is not None:
        largest = max((_params(p) for points in searches.values() for p in points), default=0)
        far = limit > _FAR * largest  # drawn, it would squeeze the networks to one line
        label = f"budget {limit:,.0f}{' →' if far else ''}"
        axes.axvline(math.nan if far else limit / 1e6, color="0.3", linestyle="--", label=label)
    axes.set(xlabel="parameters (millions)", ylabel=_SCORE)
    _finish(axes, axes.yaxis, searches)


def plot_accuracy(axes: Any, searches: Searches, accuracy: Mapping[str, float], label: str) -> None:
    """Accuracy after training, in percent, of those of which it is known, against score.

    Those on the front of score and size are ringed.
    """
    for index, points in enumerate(searches.values()):
        ranking = [point for point in distinct(points) if point.arch in accuracy]
        scores = [_score(point) for point in ranking]
        heights = [accuracy[point.arch] for point in ranking]
        _scatter(axes, scores, heights, ranking, f"C{index}" if len(searches) > 1 else None)
        ringed = [point for point in front(points) if point.arch in accuracy]
        axes.scatter(
            [_score(point) for point in ringed],
            [accuracy[point.arch] for point in ringed],
            s=40,
            facecolors="none",
            edgecolors="C1",
            label=None if index else "on the front of score and size",
        )
        _star(axes, scores, heights, index)
    axes.set(xlabel=_SCORE, ylabel=label)
    _finish(axes, axes.xaxis, searches)


def _scatter(
    axes: Any, x: Sequence[float], y: Sequence[float], points: Sequence[Point], color: str | None
) -> None:
    """The points in the colour of their search, or of one alone by generation."""
    from matplotlib.ticker import MaxNLocator

    many = len(points) > _MANY
    generations = [point.generation for point in points]
    drawn = axes.scatter(
        x,
        y,
        c=color or generations,
        cmap=None if color else "viridis",
        s=6 if many else 14,
        alpha=0.8,
        linewidths=0,
        rasterized=many,
    )
    if not color and len(set(generations)) > 1:
        bar = axes.figure.colorbar(drawn, ax=axes, label="generation first asked in")
        bar.ax.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _star(axes: Any, x: Sequence[float], y: Sequence[float], index: int) -> None:
    """Mark the first point, that of the architecture found."""
    label = None if index else "found"
    axes.scatter(x[:1], y[:1], marker="*", s=150, color="C3", linewidths=0, zorder=3, label=label)


def _params(point: Point) -> float:
    return point.params or 0.0


def _score(point: Point) -> float:
    return -math.inf if point.score is None else point.score


def _finish(axes: Any, axis_of_scores: Any, searches: Searches) -> None:
    """Scale of the scores, grid, and the legend above the axes, where it hides nothing."""
    from matplotlib.ticker import LogLocator

    scores = [p.score for points in searches.values() for p in points if p.score is not None]
    if scores and min(scores) > 0 and math.log10(max(scores)) - math.log10(min(scores)) > _DECADES:
        axes.set(**{f"{axis_of_scores.axis_name}scale": "log"})  # as of synflow
        axis_of_scores.set_major_locator(LogLocator(numticks=6))
        axis_of_scores.set_major_formatter("{x:.0e}")
        axis_of_scores.set_minor_formatter("")
    axes.grid(alpha=0.3)
    if labels := axes.get_legend_handles_labels()[1]:
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=5 if len(labels) > 4 else 2,
            frameon=False,
            fontsize="small",
            columnspacing=1.0,
            handlelength=1.5,
        )
