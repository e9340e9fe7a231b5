"""What makes two runs the same run: their settings, but for those that change no score."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from diswot.errors import UserError

__all__ = ["IRRELEVANT", "MAY_GROW", "difference", "finite", "flatten", "identity", "require"]

IRRELEVANT = (
    *("workers", "logger", "debug", "hydra", "data.num_workers", "resamples", "merge"),
    *("benchmark.source", "benchmark.path", "benchmark.datasets", "trainer.teacher_cache.dir"),
)
"""Settings, and groups of settings, that change no score."""

MAY_GROW = ("strategy.evaluations", "seeds")
"""Settings that may grow between two starts of one run."""


def flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """All settings with their dotted names; whole floats as integers, so that 1e6 is 1000000."""
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{name}.")
        elif isinstance(value, float) and value.is_integer():
            yield name, int(value)
        else:
            yield name, value


def identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that make a run what it is, by dotted name."""
    left_out = {*IRRELEVANT, *MAY_GROW}
    proxies = list(config.get("proxy") or ())
    if "strategy" in config:
        left_out.add("benchmark")  # a search asks it only what the found architecture scores
    else:
        proxies.sort()  # to a search the first is the fitness, to a ranking all are alike
    settings = {
        name: value
        for name, value in flatten(config)
        if not {name, name.partition(".")[0]} & left_out
    }
    return settings | ({} if "trainer" in config else {"proxy": proxies})


def finite(config: Mapping[str, Any]) -> None:
    """Refuse numbers that no file of settings can hold.

    Raises:
        UserError: Names the setting.
    """
    for name, value in flatten(config):
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{name}={value} is not allowed; give a finite number")


def require(config: Mapping[str, Any], *groups: str) -> None:
    """Refuse a config in which a group was left out.

    Raises:
        UserError: Names the group.
    """
    for group in groups:
        if not config.get(group):
            raise UserError(f"{group}: none is given; choose one, --help lists them")


def difference(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> list[tuple[str, object, object]]:
    """Settings in which two runs differ: name, value before, value after."""
    old, new = identity(before), identity(after)
    missing = "(not set)"
    return [
        (name, old.get(name, missing), new.get(name, missing))
        for name in sorted({*old, *new})
        if old.get(name, missing) != new.get(name, missing)
    ]
