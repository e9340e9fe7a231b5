"""Plots of a ranking: correlation of each proxy, its scores against accuracy; rank.png."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diswot.reporting import drawing

if TYPE_CHECKING:
    from diswot.ranking.scores import Scores, Target
    from diswot.runs import RankRow


BAR = 0.23
"""Inches of height a bar needs."""
_PANELS = 3  # targets side by side
_SMALL = 5  # score panels side by side
_LONG = 10  # middle halves of the scores that all of them may span on a linear axis
_COLORS = {"proxy": "C0", "better": "C2", "baseline": "0.6", "control": "#9ecae1", "params": "C3"}


def plot_rank(
    path: Path, rows: Sequence[RankRow], scores: Scores, targets: Sequence[Target], title: str
) -> None:
    """Write a PNG of bars and score panels.

    Above, Spearman and its interval for each target; below, the scores of the first seed against
    the accuracy of the first distilled target (or the first there is), best proxy first. Scores
    of many magnitudes are drawn by rank, which their axes say.
    """
    proxies = len(scores.values)
    heights = (
        math.ceil(len(targets) / _PANELS) * (BAR * proxies + 0.9) + 0.4,
        math.ceil(proxies / _SMALL) * (2.1 if proxies > 2 else 3.2) + 0.5,
    )
    shown = next((target for target in targets if target.target == "distilled"), targets[0])
    with drawing(path, title, 12, sum(heights) + 0.5, dpi=110, fontsize=12) as figure:
        above, below = figure.subfigures(2, 1, height_ratios=heights, squeeze=False).ravel()
        _plot_bars(above, rows, targets)
        _plot_scores(below, _of(rows, shown), scores, shown)


def _of(rows: Sequence[RankRow], target: Target) -> list[RankRow]:
    return [r for r in rows if (r.dataset, r.target) == (target.dataset, target.target)]


def _plot_bars(figure: Any, rows: Sequence[RankRow], targets: Sequence[Target]) -> None:
    columns = min(_PANELS, len(targets))
    grid = figure.subplots(math.ceil(len(targets) / columns), columns, squeeze=False).ravel()
    for axes in grid[len(targets) :]:
        axes.set_axis_off()
    low = min((r.spearman_lo for r in rows if r.spearman_lo < 0), default=0.0)
    for axes, target in zip(grid, targets, strict=False):
        plot_target(axes, _of(rows, target), f"{target.dataset} {target.target}")
        axes.set_xlim(low - 0.05 if low else 0, 1.0)
    handles = rank_legend(rows)
    figure.legend(handles=handles, loc="outside upper center", ncols=4, fontsize=8, frameon=False)


def plot_target(axes: Any, rows: Sequence[RankRow], title: str) -> None:
    """Spearman and its interval, a bar a proxy; rows are of one target, best first."""
    places = range(len(rows))
    rho = np.array([row.spearman for row in rows])
    limits = np.array([[row.spearman_lo, row.spearman_hi] for row in rows]).T
    errors = np.maximum(np.abs(limits - rho), 0)
    axes.barh(places, np.nan_to_num(rho), color=[_COLORS[_kind(row)] for row in rows], height=0.75)
    axes.errorbar(rho, places, xerr=errors, fmt="none", ecolor="0.2", elinewidth=1, capsize=2)
    for place in np.flatnonzero(np.isnan(rho)):
        axes.text(0.01, place, "not defined", va="center", fontsize=7, color="0.4")
    axes.set_yticks(places, [row.proxy for row in rows], fontsize=8)
    axes.set(title=title, ylim=(len(rows) - 0.4, -0.6))
    axes.set_xlabel("Spearman ρ, 95 % interval over architectures", fontsize=9)
    axes.title.set_fontsize(10)
    axes.tick_params(axis="x", labelsize=8)
    axes.axvline(0, color="0.3", linewidth=0.8)
    of_params = rows[0].spearman - rows[0].minus_params  # of the best; NaN where all are
    axes.axvline(of_params, color=_COLORS["params"], linestyle="--", linewidth=1)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)


def _kind(row: RankRow) -> str:
    kinds = {"baseline": row.baseline, "control": row.control, "better": row.better_than_params}
    return next((kind for kind, given in kinds.items() if given), "proxy")


def rank_legend(rows: Sequence[RankRow]) -> list[Any]:
    """Handles of a legend for the colours of bars that occur in rows."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    names = {
        "better": "proxy better than params (interval of the difference above 0)",
        "proxy": "proxy",
        "baseline": "baseline: size alone, or nothing",
        "control": "control: teacher's samples exchanged",
    }
    kinds = {_kind(row) for row in rows}
    return [
        *(Patch(color=_COLORS[k], label=name) for k, name in names.items() if k in kinds),
        Line2D([], [], color=_COLORS["params"], linestyle="--", label="ρ of params"),
    ]


def _plot_scores(figure: Any, rows: Sequence[RankRow], scores: Scores, target: Target) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm, Normalize
    from matplotlib.ticker import EngFormatter

    columns = min(_SMALL, len(rows))
    lines = math.ceil(len(rows) / columns)
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True).ravel()
    low, high = float(scores.params.min()), float(scores.params.max())
    norm = LogNorm(low, high) if 0 < 10 * low < high else Normalize(low, high)
    floor = _floor(target.accuracy)
    for axes in grid[len(rows) :]:
        axes.set_axis_off()
    for axes, row in zip(grid, rows, strict=False):
        _plot_proxy(axes, row, scores, np.maximum(target.accuracy, floor), norm)
    cut = f", at least {floor:.0f}" if floor > target.accuracy.min() else ""
    figure.supylabel(f"{target.dataset} {target.target}, %{cut}", fontsize=9)
    seed = f"seed {scores.seeds[0]}; " if len(scores.seeds) > 1 else ""
    figure.supxlabel(f"score ({seed}higher is better)", fontsize=9)
    colors = ScalarMappable(norm, "viridis")
    bar = figure.colorbar(colors, ax=list(grid), aspect=20 * lines, fraction=0.05, pad=0.01)
    bar.ax.yaxis.set_major_formatter(EngFormatter(sep=""))
    bar.ax.tick_params(which="both", labelsize=7)
    bar.set_label("parameters", fontsize=9)


def _floor(accuracy: NDArray[np.float64]) -> float:
    """Under this a few archs that learned next to nothing would press all others together."""
    low, high = np.quantile(accuracy, (0.25, 0.75))
    return max(float(accuracy.min()), float(math.floor(low - _LONG / 3 * (high - low))))


def _plot_proxy(
    axes: Any, row: RankRow, scores: Scores, accuracy: NDArray[np.float64], norm: Any
) -> None:
    from matplotlib.ticker import EngFormatter, MaxNLocator

    values = scores.values[row.proxy][0]
    scored = np.isfinite(values)
    shown, label = _readable(values[scored])
    many = len(shown) > 500
    axes.scatter(
        shown,
        accuracy[scored],
        c=scores.params[scored],
        norm=norm,
        cmap="viridis",
        s=2 if many else 12,
        alpha=0.25 if len(shown) > 3000 else 0.8,
        linewidths=0,
        rasterized=True,
    )
    rho = "—" if math.isnan(row.spearman) else f"{row.spearman:.3f}".replace("-", "−")
    axes.set_title(f"{row.proxy}\nρ = {rho}", fontsize=8)
    axes.set_xlabel(label, fontsize=7, labelpad=1)
    axes.grid(alpha=0.3)
    axes.tick_params(labelsize=7)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.get_offset_text().set_fontsize(7)
    if len(shown) and shown.min() >= 0 and shown.max() >= 1e4:
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    elif len(shown):
        axes.ticklabel_format(axis="x", scilimits=(-2, 4))
    else:
        axes.set_xticks([])
        axes.text(0.5, 0.5, "not scored", transform=axes.transAxes, ha="center", color="0.4")


def _readable(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], str]:
    """The scores, or their ranks where a few of them would press all others together."""
    from scipy.stats import rankdata

    low, high = np.quantile(values, (0.25, 0.75)) if len(values) > 2 else (0, math.inf)
    near = not len(values) or np.ptp(values) <= _LONG * (high - low)
    return (values, "") if near else (rankdata(values), "rank of score")
