"""What is drawn of one group of runs, or of one ranking."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from diswot.reporting.page.facts import LARGEST
from diswot.reporting.page.reading import UnreadableError
from diswot.reporting.page.svg import panel, plain

if TYPE_CHECKING:
    from diswot.reporting.page.groups import Group
    from diswot.reporting.page.heat import Heat
    from diswot.runs import RankRow, Run

__all__ = ["Picture"]

T = TypeVar("T")

_SEEDS = 10  # drawn in one picture; there are as many colours


@dataclass
class Picture:
    """Pictures of one thing.

    Attributes:
        title: What it is.
        name: Unlike that of any other; letters, digits and hyphens.
        panels: SVG elements.
        heats: By kind of similarity.
        rows: Of a ranking, by data set and target, as many as a table can show.
        counts: How many there are of each.
        notes: What is to be said of them.
    """

    title: str
    name: str
    panels: list[str] = field(default_factory=list)
    heats: dict[str, list[Heat]] = field(default_factory=dict)
    rows: dict[str, list[RankRow]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def read(self, reader: Callable[[Path], T], run: Run, who: str) -> T | None:
        """What a reader gives of a run's folder; if nothing, a note says why."""
        try:
            return reader(run.path)
        except UnreadableError as error:
            self.notes.append(f"{who}: {error}.")
            return None

    def read_all(self, reader: Callable[[Path], T], group: Group) -> dict[str, T]:
        """The same of all runs of a group, by seed, as many as one picture can show."""
        named = list(group.named().items())
        if len(named) > _SEEDS:
            self.notes.append(f"The first {_SEEDS} of {len(named)} seeds are drawn.")
        told = {plain(seed): self.read(reader, run, seed) for seed, run in named[:_SEEDS]}
        unfinished = [f"{seed} ({run.state})" for seed, run in named if run.state != "finished"]
        if unfinished:
            self.notes.append(f"Drawn as far as they have come: {', '.join(unfinished)}.")
        return {seed: value for seed, value in told.items() if value}

    @contextmanager
    def draw(self, label: str, width: float = 4.4, height: float = 3.1) -> Iterator[Any]:
        """Axes to draw the next panel on; where matplotlib cannot, a note says so.

        Args:
            label: What it shows, for those who cannot see it.
            width: Inches.
            height: Inches.
        """
        drawn = panel(f"{self.name}-{len(self.panels)}", label, width, height)
        try:
            with np.errstate(all="ignore"), drawn as one:
                yield one.axes
                _check(one.axes)
        except (ValueError, ArithmeticError, MemoryError) as error:
            told = " ".join(str(error).split())[:200] or type(error).__name__
            self.notes.append(f"No picture “{label}”: {told}.")
        else:
            self.panels.append(one.svg)


def _check(axes: Any) -> None:
    """Refuse what matplotlib would take for infinite."""
    for side, drawn in (("x", axes.dataLim.intervalx), ("y", axes.dataLim.intervaly)):
        linear = getattr(axes, f"get_{side}scale")() == "linear"
        known = [abs(value) for value in drawn if math.isfinite(value)]  # infinite: nothing drawn
        if linear and any(value > LARGEST for value in known):
            raise ValueError(f"there are values beyond ±{LARGEST:g}")
