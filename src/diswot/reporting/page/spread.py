"""Figures over the seeds of a group."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

from diswot.reporting.page.facts import LARGEST, number, shown, top1
from diswot.reporting.page.groups import Group
from diswot.runs import Run

__all__ = ["Spread", "spread"]

_FIGURES = ("score", "top1", "params", "flops", "seconds")
_LISTED = 10  # values of seeds
_ENOUGH = 3  # seeds; an interval of fewer says nothing


@dataclass(frozen=True)
class Spread:
    """A figure over the seeds of a group.

    Attributes:
        mean: Over those that finished.
        std: Standard deviation (ddof 1), None of one seed.
        low: Lower limit of the 95 % interval of the mean, by Student's t; None of two seeds.
        high: Upper limit.
        values: One a seed.
    """

    mean: float
    std: float | None
    low: float | None
    high: float | None
    values: tuple[float, ...]

    @property
    def text(self) -> str:
        """Mean ± standard deviation, to the second digit of the latter."""
        if self.std is None:
            return shown(self.mean)
        if len(set(self.values)) == 1:
            return f"{shown(self.values[0])} ± 0"
        return f"{self._rounded(self.mean)} ± {self._rounded(self.std)}"

    @property
    def interval(self) -> str:
        """Limits of the interval, empty where there is none."""
        if not self.std or self.low is None or self.high is None:
            return ""
        return f"[{self._rounded(self.low)}, {self._rounded(self.high)}]"

    @property
    def each(self) -> str:
        """The value of every seed, where they are not the same."""
        known = [self._rounded(value) for value in self.values[:_LISTED]]
        more = " …" if len(self.values) > _LISTED else ""
        return f"{' · '.join(known)}{more}" if len(set(self.values)) > 1 else ""

    def _rounded(self, value: float) -> str:
        places = max(0, 1 - math.floor(math.log10(self.std))) if self.std else 0
        return f"{value:,.{min(places, 9)}f}".replace("-", "−")


def spread(group: Group) -> dict[str, Spread]:
    """Figures of the finished runs of a group, by name; those that are known."""
    found: dict[str, Spread] = {}
    for name in _FIGURES:
        values = [_figure(run, name) for run in group.runs if run.state == "finished"]
        known = tuple(value for value in values if value is not None and abs(value) <= LARGEST)
        if known:
            found[name] = _spread(known)
    return found


def _figure(run: Run, name: str) -> float | None:
    return top1(run)[0] if name == "top1" else number(run.result.get(name))


def _spread(values: tuple[float, ...]) -> Spread:
    mean, count = statistics.fmean(values), len(values)
    std = statistics.stdev(values) if count > 1 else None
    if std is None or count < _ENOUGH:
        return Spread(mean, std, None, None, values)
    from scipy.stats import t

    half = float(t.ppf(0.975, count - 1)) * std / count**0.5
    return Spread(mean, std, mean - half, mean + half, values)
