"""Facts of runs: their cells in the table, groups over seeds, and settings that differ."""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from diswot.config import IRRELEVANT, flatten
from diswot.runs import Run, SearchSummary, TrainSummary

COLUMNS = {
    **{"name": "run", "command": "command", "state": "state", "arch": "arch"},
    **{"params": "params", "flops": "MACs", "latency_ms": "latency, ms", "score": "score"},
    **{
        "top1": "measured top-1, %",
        "known": "known top-1, %",
        "space": "space",
        "teacher": "teacher",
        "by": "proxy, loss",
    },
    **{"seconds": "seconds", "seed": "seed"},
}
"""Heads of the columns, by the keys of `run_facts`."""

_NOT_COMPARED = ("seed", "student.run")
_LABELS = {
    "search": ("space", "teacher", "proxy", "strategy"),
    "train": ("student", "teacher", "distiller", "protocol"),
}
_FIRST = (
    *("proxy", "distiller", "strategy", "student", "teacher", "space", "budget", "seed", "seeds"),
)
_OF_RANKING = ("resamples", "benchmark.source", "benchmark.path", "benchmark.datasets")
"""Settings that change no score, but the correlations of a ranking."""
_LISTED = 4  # settings in a label
_FIGURES = {
    **{"params": "params", "flops": "flops", "score": "score", "top1": "test_top1"},
    **{"known": "known", "seconds": "seconds"},
}
_OF_ARCH = ("params", "flops", "known")  # the same of every seed
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
    key = "distiller" if run.command in ("train", "race") else "proxy"
    members = config.get(key) or result.get(key) or ()
    if isinstance(members, Mapping | Sequence) and not isinstance(members, str):
        members = ", ".join(map(str, members))
    texts = {
        "command": run.command,
        "space": result.get("space") or at(config, "space", "name"),
        "teacher": result.get("teacher") or at(config, "teacher", "name"),
        "by": members,
        "arch": result.get("arch") or result.get("student") or at(config, "student", "name"),
    }
    if run.command == "train" and not config.get("distiller"):
        texts["teacher"] = None
    sizes = ("params", "flops", "latency_ms")
    counts = {key: result.get(key) for key in ("score", *sizes, "seconds")}
    counts["seed"] = config.get("seed")
    known, source = _known(run)
    accuracies = {
        "top1": (result.get("test_top1"), "on the test images"),
        "known": (known, f"of the benchmark: {source}"),
    }
    return {
        "name": _Value(name, name, str(run.path)),
        "state": _Value(run.state, run.state, run.problem or ""),
        **{
            key: _Value() if value is None else _Value(f"{value:.2f}", value, text)
            for key, (value, text) in accuracies.items()
        },
        **{key: _Value(str(text), str(text)) if text else _Value() for key, text in texts.items()},
        **{
            key: _Value() if (value := number(count)) is None else _Value(readable(value), value)
            for key, count in counts.items()
        },
    }


def _known(run: Run) -> tuple[float | None, str]:
    """Top-1 in percent that is known of the architecture a search found, and from where."""
    summary = run.summary
    if isinstance(summary, SearchSummary) and summary.benchmark and summary.benchmark.standings:
        best = min(summary.benchmark.standings, key=lambda each: each.target != "distilled")
        return best.accuracy, f"{best.dataset}, {best.target}, {summary.benchmark.source}"
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

    @property
    def text(self) -> str:
        """Mean ± standard deviation, to the second digit of the latter."""
        if not self.std > 0:
            return readable(self.mean) + (" ± 0" if self.std == 0 else "")
        return f"{self._rounded(self.mean)} ± {self._rounded(self.std)}"

    @property
    def interval(self) -> str:
        """95 % interval of the mean by Student's t, empty of fewer than three seeds."""
        from scipy.stats import t

        count = len(self.values)
        if count < 3 or not self.std:
            return ""
        half = float(t.ppf(0.975, count - 1)) * self.std / count**0.5
        return f"[{self._rounded(self.mean - half)}, {self._rounded(self.mean + half)}]"

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
    """Figures, as far as they are known, of finished runs with one architecture (`by_arch`)."""
    results = [{**run.result, "known": _known(run)[0]} for run in runs]
    figures = {}
    for name, key in _FIGURES.items():
        known = (number(result.get(key)) for result in results)
        if values := tuple(value for value in known if value is not None):
            figures[name] = SeedFigure(values[:1] if name in _OF_ARCH else values)
    return figures


@dataclass(frozen=True)
class Group:
    """Runs of one command, ``search`` or ``train``, that differ in their seeds alone.

    ``label`` has names of their parts, then the settings that set them apart from other groups;
    ``runs`` are by seed, of two with the same seed the first that finished; ``left_out`` is the
    number of the others.
    """

    label: str
    command: str
    runs: tuple[Run, ...]
    left_out: int = 0

    def by_seed(self) -> dict[str, Run]:
        """The runs by their seeds, as pictures name them."""
        return {f"seed {run.config.get('seed')}": run for run in self.runs}

    def by_arch(self) -> dict[str, list[Run]]:
        """The finished runs by the architecture that they found or trained."""
        archs: dict[str, list[Run]] = {}
        for run in self.runs:
            if isinstance(run.summary, SearchSummary):
                archs.setdefault(run.summary.arch, []).append(run)
            elif isinstance(run.summary, TrainSummary):
                archs.setdefault(run.summary.student, []).append(run)
        return archs


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """Searches and trainings with a config, by the settings they share, in order of the first."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        if run.command in _LABELS and run.config:
            groups.setdefault(_key(run), []).append(run)
    firsts = [members[0] for members in groups.values()]
    return [_group(members, firsts) for members in groups.values()]


def _key(run: Run) -> str:
    """All in which the runs of a group agree: the first of its proxies is what a search follows."""
    settings = {
        name: value
        for name, value in _compared(run).items()
        if name not in _NOT_COMPARED and not name.startswith("benchmark")
    }
    proxies = run.config.get("proxy")
    return json.dumps([run.command, settings, [*proxies] if isinstance(proxies, Mapping) else []])


def _group(members: Sequence[Run], firsts: Sequence[Run]) -> Group:
    by_seed: dict[float, Run] = {}
    for run in sorted(members, key=lambda run: run.state != "finished"):
        by_seed.setdefault(number(run.config.get("seed")) or 0.0, run)
    first, parts = members[0], _parts(members[0])
    alike = [other for other in firsts if _parts(other) == parts]
    apart = differences(alike)
    kept = [f"{k}={apart[k][alike.index(first)]}" for k in apart if k not in _NOT_COMPARED]
    label = ", ".join([*parts, *kept[:_LISTED], *(["…"] if len(kept) > _LISTED else [])])
    chosen = tuple(by_seed[seed] for seed in sorted(by_seed))
    return Group(label, first.command, chosen, len(members) - len(chosen))


def _parts(run: Run) -> list[str]:
    """Names of what a run was made of."""
    names = []
    for group in _LABELS[run.command]:
        node = run.config.get(group)
        if group == "protocol" and not at(node, "name"):
            node = run.config.get("trainer")  # as it was called before
        if group == "teacher" and run.command == "train" and not run.config.get("distiller"):
            name: object = "alone"
        elif group == "teacher" and run.command == "train" and at(node, "name") == "none":
            name = "itself"
        elif group in ("proxy", "distiller"):
            name = "+".join(map(str, node)) if isinstance(node, Mapping) else node
        else:
            name = at(node, "name")
        names += [str(name)] if name else []
    return names


def differences(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Settings that are not the same in all runs of one command, with their value in each.

    Those that tell runs apart best come first. Left out are settings that change no score, further
    seeds that are the run's own in every run, and the settings of a proxy or distiller that not
    all runs have: its name says it.
    """
    settings = [_compared(run) for run in runs]
    for group in ("proxy", "distiller"):  # names of members in place of what not all runs have
        nodes = [run.config.get(group) for run in runs]
        members = [list(map(str, node)) if isinstance(node, Mapping) else [] for node in nodes]
        shared = set(members[0]).intersection(*members)
        for own, names in zip(settings, members, strict=True):
            for key in [*own]:
                if key.startswith(tuple(f"{group}.{name}." for name in {*names} - shared)):
                    del own[key]
            if names:
                own[group] = "+".join(names)
    known = sorted({name for each in settings for name in each}, key=_place)
    columns = {name: [_text(each.get(name, "—")) for each in settings] for name in known}
    apart = {name: values for name, values in columns.items() if len(set(values)) > 1}
    return {
        name: values
        for name, values in apart.items()
        if not (name.endswith("._target_") and f"{name.removesuffix('._target_')}.name" in apart)
    }


def _compared(run: Run) -> dict[str, Any]:
    """Settings by name but those that change no score, and without copies of the run's seed."""
    left_out = {*IRRELEVANT} - ({*_OF_RANKING} if run.command == "rank" else set())
    seed = run.config.get("seed")
    return {
        name: "as seed" if name.endswith(".shuffle_seed") and value == seed else value
        for name, value in sorted(flatten(run.config))
        if not {name, name.partition(".")[0]} & left_out
    }


def _place(name: str) -> tuple[int, bool, str]:
    """Sorts settings: those that tell runs apart first, the benchmark last."""
    group, _, key = name.partition(".")
    last = len(_FIRST) + (group == "benchmark")
    return _FIRST.index(group) if group in _FIRST else last, key not in ("", "name"), name


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
