"""What every run of a table must be set to, and what the runs of one figure must share."""

from __future__ import annotations

import json
from collections.abc import Mapping

from diswot.config import MAY_GROW, flatten, identity
from diswot.runs import Run

__all__ = [
    "COMMANDS",
    "Conditions",
    "UnusableError",
    "accuracies_from",
    "as_text",
    "but_for_seed",
    "violation",
]

COMMANDS = ("search", "rank", "train")

Conditions = Mapping[str, Mapping[str, tuple[str, ...]]]
"""Command, or empty for all → setting, or ``result.`` and a name of result.json → allowed values.

Values are as `as_text` has them.
"""

_OF_SEED = ("seed", "data.shuffle_seed")
_OF_STUDENT = ("student.run", "student.arch")


class UnusableError(Exception):
    """A run cannot enter the table; the message says why."""


def as_text(value: object) -> str:
    """JSON, in which 1.0 is 1 and true is not."""
    return json.dumps(_whole(value), sort_keys=True)


def _whole(value: object) -> object:
    if isinstance(value, list):
        return [_whole(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def violation(run: Run, conditions: Conditions) -> str | None:
    """Which setting of a run is not what a table's runs must have, in one line; None if all are.

    A setting that a run does not have is taken as null.
    """
    asked = {**conditions.get("", {}), **conditions.get(run.command, {})}
    if not asked:
        return None
    try:
        found = dict(flatten(run.config)) | dict(flatten(run.result, "result."))
        settings = {name: as_text(found[name]) for name in asked if name in found}
    except RecursionError:
        return "config.json or result.json is nested too deeply"
    for name, allowed in asked.items():
        if settings.get(name, as_text(None)) not in allowed:
            value = settings.get(name, "not set")
            return f"{name} is {value}; the table takes {' or '.join(allowed)} (conditions)"
    return None


def accuracies_from(run: Run) -> str | None:
    """Where a ranking or a search has its accuracies from; None where it has none."""
    known = run.result if run.command == "rank" else run.result.get("benchmark")
    source = known.get("source") if isinstance(known, Mapping) else None
    return None if source is None else str(source)


def but_for_seed(run: Run, search: Run | None = None) -> dict[str, str]:
    """The settings that runs of several seeds must share to give one figure.

    Args:
        run: Whose `diswot.config.identity` counts, and what else may grow between two starts.
        search: That found the student of a training: its settings count, not what it found.

    Returns:
        Setting → value, as `as_text` has it; ``accuracies`` is where those are from, and those of
        ``search`` begin with ``search``.

    Raises:
        UnusableError: config.json is damaged.
    """
    left_out = _OF_SEED if search is None else (*_OF_SEED, *_OF_STUDENT)
    try:
        settings = identity(run.config)
        settings |= {name: value for name, value in flatten(run.config) if name in MAY_GROW}
        settings["accuracies"] = accuracies_from(run)
        own = {name: as_text(value) for name, value in settings.items() if name not in left_out}
    except (TypeError, RecursionError) as error:
        raise UnusableError(f"the settings in config.json are damaged ({error})") from error
    if search is None:
        return own
    return own | {f"search {name}": value for name, value in but_for_seed(search).items()}
