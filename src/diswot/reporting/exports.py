"""The table and the picture a finished search leaves: candidates.csv and search.png."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from diswot.reporting.search_plot import Point, plot_course, plot_params
from diswot.runs import TopCandidate, write_atomic

if TYPE_CHECKING:
    from diswot.history import History

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


def top(history: History, count: int) -> list[TopCandidate]:
    """The best distinct candidates, best first."""
    others = history.others()
    return [
        TopCandidate(
            arch=record.arch,
            score=score,
            parts=record.parts,
            others={name: scores.get(record.arch) for name, scores in others.items()},
            params=_known(record.params),
            flops=_known(record.flops),
            layers=record.layers,
        )
        for record, score in history.ranking()[:count]
    ]


def _known(count: int | None) -> int:
    assert count is not None  # of a candidate that was scored
    return count


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
    """Best and mean score over the candidates; score against parameters with the budget line."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=11)
    left, right = figure.subplots(1, 2)
    scores = history.scores()
    points = [Point(r.arch, scores.get(r.arch), r.params, r.generation) for r in history.records]
    plot_course(left, {"": points})
    plot_params(right, {"": points}, budget.get("params"))
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120)
    write_atomic(path, image.getvalue())
