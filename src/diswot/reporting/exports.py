"""The table and the picture a finished search leaves: candidates.csv and search.png."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diswot.storage.files import write_atomic

if TYPE_CHECKING:
    from diswot.history import History
    from diswot.storage.journal import Record

__all__ = ["candidates_csv", "plot_search", "top"]

_COLUMNS = (
    "params",
    "flops",
    "layers",
    "status",
    "reason",
    "generation",
    "cached",
    "seconds",
)


def top(history: History, count: int) -> list[dict[str, Any]]:
    """The best distinct candidates, best first."""
    others = history.others()
    return [
        {
            "arch": record.arch,
            "score": score,
            "parts": record.parts,
            "others": {name: scores.get(record.arch) for name, scores in others.items()},
            "params": record.params,
            "flops": record.flops,
            "layers": record.layers,
        }
        for record, score in history.ranking()[:count]
    ]


def candidates_csv(path: Path, history: History) -> None:
    """All candidates in ask order; ``score`` is the final fitness, ``told`` what it was at first.

    Both are the same unless scores are relative to the other candidates.
    """
    scores = history.scores()
    parts = list(next((r.parts for r in history.records if r.parts), {}))
    others = history.others()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        [
            *("arch", "score", "told"),
            *(f"part_{name}" for name in parts),
            *(f"score_{name}" for name in others),
            *_COLUMNS,
        ]
    )
    for record in history.records:
        row: list[object] = [record.arch, scores.get(record.arch), record.score]
        row += [record.parts.get(part) for part in parts]
        row += [values.get(record.arch) for values in others.values()]
        row += [getattr(record, column) for column in _COLUMNS]
        writer.writerow(row)
    write_atomic(path, text.getvalue().encode())


def plot_search(path: Path, history: History, title: str, budget: Mapping[str, float]) -> None:
    """Best and mean score over generations; score against parameters with the budget line."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=11)
    left, right = figure.subplots(1, 2)
    scores = history.scores()
    _plot_generations(left, history.records, scores)
    _plot_params(right, history, budget.get("params"))
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120)
    write_atomic(path, image.getvalue())


def _plot_generations(axes: Any, records: Sequence[Record], scores: Mapping[str, float]) -> None:
    by_generation: dict[int, list[float]] = {}
    for record in records:
        if record.arch in scores:
            by_generation.setdefault(record.generation, []).append(scores[record.arch])
    generations = sorted(by_generation)
    means = [sum(by_generation[g]) / len(by_generation[g]) for g in generations]
    best: list[float] = []
    for generation in generations:
        best.append(max([*best[-1:], *by_generation[generation]]))
    axes.plot(generations, best, color="C3", label="best so far")
    axes.plot(generations, means, color="C0", alpha=0.8, label="mean of the generation")
    axes.set(xlabel="generation", ylabel="score (higher is better)")
    axes.grid(alpha=0.3)
    axes.legend(framealpha=0.6)


def _plot_params(axes: Any, history: History, limit: float | None) -> None:
    ranking = [(r, score) for r, score in history.ranking() if r.params is not None]
    points = axes.scatter(
        [(record.params or 0) / 1e6 for record, _ in ranking],
        [score for _, score in ranking],
        c=[record.generation for record, _ in ranking],
        s=14,
        cmap="viridis",
    )
    axes.figure.colorbar(points, ax=axes, label="generation first asked in")
    if ranking:
        found, score = ranking[0]
        axes.scatter(
            [(found.params or 0) / 1e6], [score], marker="*", s=160, color="C3", label="found"
        )
    if limit is not None:
        axes.axvline(limit / 1e6, color="0.3", linestyle="--", label=f"budget {limit:,.0f}")
    axes.set(xlabel="parameters (millions)", ylabel="score (higher is better)")
    axes.grid(alpha=0.3)
    axes.legend(framealpha=0.6)
