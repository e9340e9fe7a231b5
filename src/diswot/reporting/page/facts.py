"""Facts of runs: the cells of the table of runs, figures over seeds, accuracies of a space."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, NamedTuple

from diswot.errors import UserError
from diswot.runs import Run, SearchSummary, TrainSummary

__all__ = ["COLUMNS", "SeedFigure", "at", "number", "run_facts", "seed_figures", "space_accuracies"]

COLUMNS = {
    **{"name": "run", "command": "command", "state": "state", "space": "space"},
    **{"teacher": "teacher", "by": "proxy, loss", "arch": "arch", "score": "score"},
    **{"top1": "top-1, %", "params": "params", "flops": "MACs", "seconds": "seconds"},
    "seed": "seed",
}
"""Heads of the columns, by the keys of `run_facts`."""

SpaceAccuracies = tuple[str, str, Mapping[str, float]]
"""Data set and target; what they were read from; top-1 in percent, by architecture."""

_UNITS = ((1e9, " G"), (1e6, " M"), (1e3, " k"))


class _Value(NamedTuple):
    """A cell of the table of runs: its text, what the table is sorted by, and its tooltip."""

    text: str = "—"
    sort: float | str | None = None
    title: str = ""


def at(node: object, *keys: str) -> Any:
    """A value in nested mappings, None where one of them has no such key or is no mapping."""
    for key in keys:
        node = node.get(key) if isinstance(node, Mapping) else None
    return node


def number(value: object) -> float | None:
    """A finite number (below 1e300) as a float, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e300 else None


def readable(value: float) -> str:
    """A number of five digits, or a whole one with commas, with a typographic minus sign."""
    whole = float(value).is_integer() and abs(value) < 1e15
    return f"{value:,.0f}".replace("-", "−") if whole else f"{value:.5g}".replace("-", "−")


def run_facts(run: Run, name: str) -> dict[str, _Value]:
    """The cells of the line of a run, in any state, by the keys of `COLUMNS`."""
    result, config = run.result, run.config
    key = "distiller" if run.command == "train" else "proxy"
    members = config.get(key) or result.get(key) or ()
    if isinstance(members, Mapping | Sequence) and not isinstance(members, str):
        members = ", ".join(map(str, members))
    alone = run.command == "train" and not config.get("distiller")
    teacher = result.get("teacher") or at(config, "teacher", "name")
    texts = {
        "command": run.command,
        "space": result.get("space") or at(config, "space", "name"),
        "teacher": None if alone else teacher,
        "by": members,
        "arch": result.get("arch") or result.get("student") or at(config, "student", "name"),
    }
    counts = {key: result.get(key) for key in ("score", "params", "flops", "seconds")}
    counts["seed"] = config.get("seed")
    accuracy, source = _top1(run)
    mark = "†" if run.command == "search" else ""
    return {
        "name": _Value(name, name, str(run.path)),
        "state": _Value(run.state, run.state, run.problem or ""),
        "top1": _Value() if accuracy is None else _Value(f"{accuracy:.2f}{mark}", accuracy, source),
        **{key: _Value(str(text), str(text)) if text else _Value() for key, text in texts.items()},
        **{
            key: _Value() if (value := number(count)) is None else _Value(readable(value), value)
            for key, count in counts.items()
        },
    }


def _top1(run: Run) -> tuple[float | None, str]:
    """Top-1 in percent, and of what: measured by a training, known of an architecture found."""
    summary = run.summary
    if isinstance(summary, TrainSummary):
        return summary.test_top1, "on the test images, after the last epoch"
    if isinstance(summary, SearchSummary) and summary.benchmark and summary.benchmark.standings:
        best = min(summary.benchmark.standings, key=lambda each: each.target != "distilled")
        of = f"{best.dataset}, {best.target}, {summary.benchmark.source}"
        return best.accuracy, f"of the benchmark: {of}"
    return None, ""


@dataclass(frozen=True)
class SeedFigure:
    """A figure over the seeds of a group of runs: one value a seed, at least one."""

    values: tuple[float, ...]

    @cached_property
    def mean(self) -> float:
        """Exact, since scores may be near overflow."""
        return statistics.mean(self.values)

    @cached_property
    def std(self) -> float:
        """Standard deviation (ddof 1), NaN of one seed."""
        return statistics.stdev(self.values) if len(self.values) > 1 else math.nan

    @cached_property
    def limits(self) -> tuple[float, float]:
        """Of the 95 % interval of the mean, by Student's t."""
        from scipy.stats import t

        count = len(self.values)
        half = float(t.ppf(0.975, count - 1)) * self.std / count**0.5
        return self.mean - half, self.mean + half

    @property
    def text(self) -> str:
        """Mean ± standard deviation, to the second digit of the latter."""
        if not self.std > 0:
            return readable(self.mean) + (" ± 0" if self.std == 0 else "")
        return f"{self._rounded(self.mean)} ± {self._rounded(self.std)}"

    @property
    def interval(self) -> str:
        """Limits of the interval, empty of fewer than three seeds: it would say nothing."""
        if len(self.values) < 3 or not self.std:
            return ""
        return "[{}, {}]".format(*map(self._rounded, self.limits))

    @property
    def each(self) -> str:
        """The value of every seed, empty where they are the same."""
        return " · ".join(map(self._rounded, self.values)) if self.std > 0 else ""

    def _rounded(self, value: float) -> str:
        """To the second digit of the deviation; large figures in thousands, millions or more."""
        std, size = self.std, max(self.std, abs(self.mean))
        if size >= 1e12:
            return f"{value:.3g}".replace("-", "−")
        unit, suffix = next((u for u in _UNITS if std >= 1e3 and size >= u[0]), (1.0, ""))
        places = max(0, 1 - math.floor(math.log10(std / unit)))
        return f"{value / unit:,.{min(places, 9)}f}{suffix}".replace("-", "−")


def seed_figures(runs: Sequence[Run]) -> dict[str, SeedFigure]:
    """Score, top1, params, flops and seconds of those runs that finished; those that are known."""
    finished = [run for run in runs if run.state == "finished"]
    figures = {}
    for name in ("score", "top1", "params", "flops", "seconds"):
        found = (_top1(run)[0] if name == "top1" else run.result.get(name) for run in finished)
        if values := tuple(value for each in found if (value := number(each)) is not None):
            figures[name] = SeedFigure(values)
    return figures


def space_accuracies(run: Run) -> SpaceAccuracies:
    """The distilled accuracies, else the first there are, of the space of a search.

    They are read through this package's own config of the benchmark: what the run's config says
    under ``benchmark`` is neither built nor opened. Of its config only the name and the settings of
    the space are looked at.

    Raises:
        UserError: None are known of this space, or not with its settings.
        OSError: Their file cannot be read.
    """
    space = run.config.get("space")
    holds_for, known = _accuracies_of(str(at(space, "name")))
    for key, value in holds_for.items():
        if at(space, key) not in (None, value):
            raise UserError(f"accuracies are known for space.{key}={value} only")
    return known


@cache
def _accuracies_of(space: str) -> tuple[Mapping[str, object], SpaceAccuracies]:
    from omegaconf import OmegaConf

    from diswot.accuracies import Benchmark
    from diswot.config import conf_dir, make

    configs = {file.stem: file for file in (conf_dir() / "benchmark").glob("*.yaml")}
    if space not in configs:
        raise UserError(f"there is no benchmark of space {space}")
    node = OmegaConf.to_container(OmegaConf.load(configs[space]))
    benchmark = make(node, "benchmark", Benchmark)  # type: ignore[arg-type, type-abstract]
    entry = min(benchmark.entries(), key=lambda each: each[1] != "distilled")
    found = {arch: benchmark.lookup(arch, *entry) for arch in benchmark.archs()}
    return benchmark.holds_for, (", ".join(entry), benchmark.source, found)
