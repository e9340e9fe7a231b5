"""Plots of searches and of trainings, each on axes that are given."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pandas import DataFrame, Series

    from diswot.runs import CandidateRecord, EpochRecord


_SIZES = {
    "params": ("parameters (millions)", 1e6),
    "flops": ("MACs (millions)", 1e6),
    "layers": ("layers", 1),
    "latency_ms": ("latency (ms)", 1),
}
"""Sizes of networks: the label of an axis, and its unit."""

_SCORE = "score (higher is better)"
_STEPS = 20  # means on one curve, at most
_MANY = 200  # points drawn as shapes; more become one image
_DECADES = 3  # of positive scores from which on their axis is logarithmic
_MARKED = 30  # epochs, or points of a front; of more, single points are not marked
_FAR = 2  # times the largest network, from which on a budget is named, not drawn

Searches = Mapping[str, Sequence["CandidateRecord"]]
"""Candidates with final scores, in ask order; names are shown where there are several searches."""

Trainings = Mapping[str, Sequence["EpochRecord"]]
"""Epochs in order, at least one a training; names are shown where there are several."""


def distinct(records: Sequence[CandidateRecord]) -> DataFrame:
    """Arch, score, sizes and generation of every architecture that has score and parameters.

    Each is there once, best first, ties in ask order.
    """
    import pandas as pd

    columns = ["arch", "score", *_SIZES, "generation"]
    rows = [[getattr(record, column) for column in columns] for record in records]
    points = pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(("score", *_SIZES), float))
    points = points.dropna(subset=["score", "params"]).drop_duplicates("arch")
    return points.sort_values("score", ascending=False, kind="stable")


def front(points: DataFrame, size: str = "params") -> DataFrame:
    """Of `distinct`, those of which none other is as small and scores higher, smallest first."""
    ordered = points.dropna(subset=[size]).sort_values(size, kind="stable")
    return ordered[ordered["score"] > ordered["score"].cummax().shift(fill_value=-math.inf)]


def plot_course(axes: Any, searches: Searches) -> None:
    """Best so far and mean of the candidates, in the order they were asked for."""
    several = len(searches) > 1
    for index, (name, records) in enumerate(searches.items()):
        block = max(math.ceil(len(records) / _STEPS), 1)
        mean = f"mean of every {block}" if block > 1 else "each candidate"
        scores = np.array([r.score for r in records], dtype=float)  # NaN of None
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


def plot_size(
    axes: Any,
    searches: Searches,
    lines: Mapping[str, float | None] | None = None,
    size: str = "params",
) -> None:
    """Score against a size: all candidates, the one found, the front, lines at further sizes.

    Sizes are ``params``, ``flops``, ``layers`` and ``latency_ms``. Candidates of one search alone
    are coloured by generation.
    """
    several, (label, unit) = len(searches) > 1, _SIZES[size]
    for index, records in enumerate(searches.values()):
        points = distinct(records)
        sizes, best = points[size] / unit, front(points, size)
        color = f"C{index}" if several else None
        _scatter(axes, sizes, points["score"], points["generation"], color)
        axes.plot(
            best[size] / unit,
            best["score"],
            drawstyle="steps-post",
            marker="." if len(best) < _MARKED else None,
            color=color or "C1",
            linewidth=1,
            label=None if index else "front of score and size",
        )
        _star(axes, sizes, points["score"], index)
    known = [getattr(r, size) or 0 for records in searches.values() for r in records]
    for style, (name, limit) in zip(("--", ":"), (lines or {}).items(), strict=False):
        if limit is not None:
            far = limit > _FAR * max(known, default=0)  # drawn, it would squeeze the networks
            text = f"{name} {limit:,.{0 if unit > 1 else 1}f}{' →' if far else ''}"
            place = math.nan if far else limit / unit
            axes.axvline(place, color="0.3", linestyle=style, label=text)
    axes.set(xlabel=label, ylabel=_SCORE)
    _finish(axes, axes.yaxis, searches)


def plot_accuracy(axes: Any, searches: Searches, accuracy: Mapping[str, float], label: str) -> None:
    """Accuracy after training, in percent, of those of which it is known, against score.

    Those on the front of score and size are ringed.
    """
    for index, records in enumerate(searches.values()):
        points = distinct(records)
        points["accuracy"] = points["arch"].map(accuracy)
        known, ringed = (each.dropna() for each in (points, front(points)))
        color = f"C{index}" if len(searches) > 1 else None
        _scatter(axes, known["score"], known["accuracy"], known["generation"], color)
        axes.scatter(
            ringed["score"],
            ringed["accuracy"],
            s=40,
            facecolors="none",
            edgecolors="C1",
            label=None if index else "on the front of score and size",
        )
        _star(axes, known["score"], known["accuracy"], index)
    axes.set(xlabel=_SCORE, ylabel=label)
    _finish(axes, axes.xaxis, searches)


def _scatter(axes: Any, x: Series, y: Series, generations: Series, color: str | None) -> None:
    """Points in the colour of their search, or of one alone by generation."""
    from matplotlib.ticker import MaxNLocator

    many = len(x) > _MANY
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
    if not color and generations.nunique() > 1:
        bar = axes.figure.colorbar(drawn, ax=axes, label="generation first asked in")
        bar.ax.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _star(axes: Any, x: Series, y: Series, index: int) -> None:
    """Mark the first point, that of the architecture found."""
    label = None if index else "found"
    axes.scatter(x[:1], y[:1], marker="*", s=150, color="C3", linewidths=0, zorder=3, label=label)


def _finish(axes: Any, axis_of_scores: Any, searches: Searches) -> None:
    scores = [r.score for rs in searches.values() for r in rs if r.score is not None]
    finish_scores(axes, axis_of_scores, scores)


def finish_scores(axes: Any, axis_of_scores: Any, scores: Sequence[float]) -> None:
    """Scale of the scores, grid, and the legend above the axes, where it hides nothing."""
    from matplotlib.ticker import LogLocator

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


def plot_losses(axes: Any, trainings: Trainings) -> None:
    """Losses over the epochs as shares of their first values; of several trainings the total."""
    for name, epochs in trainings.items():
        known = epochs[0].losses
        for loss in known if len(trainings) == 1 else {"loss"} & {*known}:
            first = epochs[0].losses[loss]
            shares = [epoch.losses.get(loss, 0.0) / first if first else 1.0 for epoch in epochs]
            style = "-" if loss == "loss" else "--"
            label = f"{loss if len(trainings) == 1 else name} (1 = {first:.3g})"
            _plot_epochs(axes, epochs, shares, linestyle=style, label=label)
    axes.set(ylabel="training losses, first epoch = 1")
    _finish_epochs(axes, trainings)
    if axes.lines:
        axes.legend(framealpha=0.6)


def plot_top1(axes: Any, trainings: Trainings, validated_on: str) -> None:
    """Accuracy over the epochs, the best of each training marked."""
    for index, (name, epochs) in enumerate(trainings.items()):
        color = f"C{index % 10}" if len(trainings) > 1 else "C3"
        top1 = [epoch.val_top1 for epoch in epochs]
        _plot_epochs(axes, epochs, top1, color=color)
        best = max(epochs, key=lambda epoch: epoch.val_top1)
        label = f"{name} best {best.val_top1:.2f} %".strip()
        place = best.epoch + 1, best.val_top1
        axes.scatter(*place, marker="*", s=140, color=color, label=label)
    axes.set(ylabel=f"top-1 on the {validated_on} images (%)")
    _finish_epochs(axes, trainings)
    axes.legend(framealpha=0.6, loc="lower right")


def plot_rate(axes: Any, trainings: Trainings) -> None:
    """Learning rate over the epochs of the longest training."""
    epochs = max(trainings.values(), key=len)
    _plot_epochs(axes, epochs, [epoch.lr for epoch in epochs], color="C2")
    axes.set(ylabel="learning rate at the end of the epoch")
    _finish_epochs(axes, trainings)


def _plot_epochs(
    axes: Any, epochs: Sequence[EpochRecord], values: Sequence[float], **line: str
) -> None:
    marker = "o" if len(epochs) < _MARKED else None
    axes.plot([epoch.epoch + 1 for epoch in epochs], values, marker=marker, ms=3, **line)


def _finish_epochs(axes: Any, trainings: Trainings) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set(xlabel="epoch", xlim=(0.5, max(map(len, trainings.values())) + 0.5))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)
