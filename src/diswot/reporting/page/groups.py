"""Runs that differ in nothing but their seed, and what sets others apart."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diswot.config import IRRELEVANT, MAY_GROW, flatten, identity
from diswot.reporting.page.facts import at, number
from diswot.runs import Run

__all__ = ["Group", "differences", "flat", "groups"]

_NOT_COMPARED = ("seed", "student.run")
_WORDS = {
    "search": (("space", "name"), ("teacher", "name"), ("proxy",), ("strategy", "name")),
    "train": (
        *(("student", "name"), ("teacher", "name"), ("distiller",), ("protocol", "name")),
        ("trainer", "name"),  # as the protocol was called before
    ),
}
_FIRST = {
    group: place
    for place, group in enumerate(
        ("proxy", "distiller", "strategy", "student", "teacher", "space", "budget", "seed", "seeds")
    )
}
_OF_RANKING = ("resamples", "benchmark.source", "benchmark.path", "benchmark.datasets")
_LAST = len(_FIRST) + 1
_NAMED = 4  # settings that tell groups of the same words apart


@dataclass(frozen=True)
class Group:
    """Runs of one command that differ in their seeds alone.

    Attributes:
        label: What they are, and what sets them apart from other groups.
        command: ``search`` or ``train``.
        runs: By seed; of two with the same seed the first.
        left_out: How many had the seed of another.
    """

    label: str
    command: str
    runs: tuple[Run, ...]
    left_out: int

    def named(self) -> dict[str, Run]:
        """The runs by their seeds, as pictures name them."""
        return {f"seed {run.config.get('seed')}": run for run in self.runs}


def groups(runs: Sequence[Run]) -> list[Group]:
    """Searches and trainings by what they share, in order of their first run."""
    found: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        if run.command in _WORDS and run.config:
            found.setdefault((run.command, _key(run)), []).append(run)
    firsts = [members[0] for members in found.values()]
    return [_group(members, firsts) for members in found.values()]


def _group(members: Sequence[Run], firsts: Sequence[Run]) -> Group:
    by_seed: dict[str, Run] = {}
    for run in sorted(members, key=lambda run: (run.state != "finished", _seed(run))):
        by_seed.setdefault(str(run.config.get("seed")), run)
    chosen = sorted(by_seed.values(), key=_seed)
    first = members[0]
    words = _words(first)
    alike = [other for other in firsts if _words(other) == words]
    apart = differences(alike)
    kept = [f"{k}={apart[k][alike.index(first)]}" for k in apart if k not in _NOT_COMPARED]
    label = ", ".join([*words, *kept[:_NAMED], *(["…"] if len(kept) > _NAMED else [])])
    return Group(label, first.command, tuple(chosen), len(members) - len(chosen))


def _seed(run: Run) -> float:
    return number(run.config.get("seed")) or 0.0


def _key(run: Run) -> str:
    settings = _without_copies(run, _settings(run))
    return json.dumps({k: v for k, v in settings.items() if k not in _NOT_COMPARED}, sort_keys=True)


def _settings(run: Run) -> dict[str, Any]:
    try:
        grown = {name: value for name, value in flatten(run.config) if name in MAY_GROW}
        return identity(run.config) | grown
    except (TypeError, AttributeError, RecursionError):  # not written by this project
        return {"path": str(run.path)}


def _words(run: Run) -> list[str]:
    words = []
    alone = run.command == "train" and not run.config.get("distiller")
    for keys in _WORDS[run.command]:
        value = at(run.config, *keys)
        if keys[0] == "teacher" and alone:
            value = "alone"
        elif isinstance(value, Mapping):
            value = "+".join(map(str, value))
        words += [str(value)] if value else []
    return words


def differences(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Settings that are not the same in all runs, with their value in each.

    What tells runs apart best comes first. Further seeds that are the run's own in every run, and
    what changes no score, are left out.
    """
    told = [_without_copies(run, _relevant(run)) for run in runs]
    for group in ("proxy", "distiller"):
        _name_members(group, runs, told)
    names = sorted({name for settings in told for name in settings}, key=_place)
    columns = {name: [_told(settings.get(name, "—")) for settings in told] for name in names}
    apart = {name: values for name, values in columns.items() if len(set(values)) > 1}
    return {name: values for name, values in apart.items() if not _said_by_name(name, apart)}


def _relevant(run: Run) -> dict[str, Any]:
    """Without what changes no score, such as where it was logged; accuracies make a ranking."""
    left_out = {*IRRELEVANT} - ({*_OF_RANKING} if run.command == "rank" else set())
    settings = flat(run.config)
    return {k: v for k, v in settings.items() if not {k, k.partition(".")[0]} & left_out}


def _place(name: str) -> tuple[int, bool, str]:
    """Sorts settings: what runs are told apart by first, what only explains it last."""
    group, _, key = name.partition(".")
    place = _LAST if group == "benchmark" else _FIRST.get(group, _LAST - 1)
    return place, key not in ("", "name"), name


def _said_by_name(name: str, apart: Mapping[str, object]) -> bool:
    """Whether it is the class of something whose name differs as well."""
    group, _, key = name.rpartition(".")
    return key == "_target_" and f"{group}.name" in apart


def _name_members(group: str, runs: Sequence[Run], told: Sequence[dict[str, Any]]) -> None:
    """Where runs have other members of a group, their names say it, not all of their settings."""
    chosen = [run.config.get(group) for run in runs]
    members = [list(map(str, each)) if isinstance(each, Mapping) else [] for each in chosen]
    shared = {name for name in members[0] if all(name in each for each in members)}
    for names, settings in zip(members, told, strict=True):
        for name in set(names) - shared:
            for key in [key for key in settings if key.startswith(f"{group}.{name}.")]:
                del settings[key]
        if names:
            settings[group] = "+".join(names)


def flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """All settings with their dotted names; none where they are nested too deeply."""
    try:
        return dict(flatten(config))
    except RecursionError:
        return {}


def _without_copies(run: Run, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without the further seeds that follow ``seed``."""
    seed = run.config.get("seed")
    return {
        name: "as seed" if name.endswith(".shuffle_seed") and value == seed else value
        for name, value in settings.items()
    }


def _told(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
