"""Groups of runs that differ in nothing but their seed, and the settings that set others apart."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diswot.config import IRRELEVANT, flatten
from diswot.reporting.page.facts import at, number
from diswot.runs import Run

__all__ = ["Group", "differences", "group_runs"]

_NOT_COMPARED = ("seed", "student.run")
_LABELS = {
    "search": ("space", "teacher", "proxy", "strategy"),
    "train": ("student", "teacher", "distiller", "protocol"),
}
_FIRST = (
    "proxy",
    "distiller",
    "strategy",
    "student",
    "teacher",
    "space",
    "budget",
    "seed",
    "seeds",
)
_OF_RANKING = ("resamples", "benchmark.source", "benchmark.path", "benchmark.datasets")
"""Settings that change no score, but the correlations of a ranking."""
_LISTED = 4  # settings in a label


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


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """Searches and trainings with a config, by the settings they share, in order of the first."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        if run.command in _LABELS and run.config:
            found.setdefault(_key(run), []).append(run)
    firsts = [members[0] for members in found.values()]
    return [_group(members, firsts) for members in found.values()]


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
