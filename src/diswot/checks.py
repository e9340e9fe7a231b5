"""Checks of settings; every message names the setting, its value and what is allowed."""

import math
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TypeGuard

from diswot.errors import UserError


def whole(setting: str, value: object, least: int) -> int:
    """Give ``value`` as an integer if it is a whole number of at least ``least``; 1e3 is one."""
    if not _is_number(value) or value % 1 or value < least:
        allowed = f"a whole number of at least {least}"
        raise UserError(f"{setting}={value} is not allowed; give {allowed}")
    return int(value)


def positive(setting: str, value: object) -> float:
    """Give ``value`` back if it is a positive, finite number."""
    if not _is_number(value) or not 0 < value < math.inf:
        raise UserError(f"{setting}={value} is not allowed; give a positive number")
    return float(value)


def number(setting: str, value: object, *, low: float, high: float = math.inf) -> float:
    """Give ``value`` back if it is a finite number from ``low`` to ``high``."""
    if not _is_number(value) or not math.isfinite(value) or not low <= value <= high:
        allowed = f"of at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
        raise UserError(f"{setting}={value} is not allowed; give a number {allowed}")
    return float(value)


def choice(setting: str, value: str, allowed: Collection[str]) -> str:
    """Give ``value`` back if it is one of those allowed."""
    if value not in allowed:
        raise UserError(f"{setting}={value}: allowed are {', '.join(allowed)}")
    return value


def flag(setting: str, value: object) -> bool:
    """Give ``value`` back if it is true or false."""
    if not isinstance(value, bool):
        raise UserError(f"{setting}={value} is not allowed; give true or false")
    return value


def switch(setting: str, value: object, other: str) -> bool | str:
    """Give ``value`` back if it is true, false or ``other``."""
    if not isinstance(value, bool) and value != other:
        raise UserError(f"{setting}={value} is not allowed; give {other}, true or false")
    return value if isinstance(value, bool) else other


def per_channel(
    setting: str, values: Sequence[float], channels: int, *, positive: bool = False
) -> tuple[float, ...]:
    """Give one number a channel; a single number serves all of them."""
    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError, OverflowError):
        numbers = ()
    allowed = all(math.isfinite(n) and (n > 0 or not positive) for n in numbers)
    if len(numbers) not in {1, channels} or not allowed:
        kind = "positive numbers" if positive else "numbers"
        raise UserError(f"{setting}={values} is not allowed; give a list of 1 or {channels} {kind}")
    return numbers * channels if len(numbers) == 1 else numbers


def folder(setting: str, value: str | Path | None, wanted: str) -> Path:
    """Give the path of an existing folder; ``wanted`` says what it has to hold."""
    if value is None:
        raise UserError(f"{setting}: not given; give {wanted}")
    path = Path(value).expanduser()
    if not path.is_dir():
        problem = "is not a folder" if path.exists() else "does not exist"
        raise UserError(f"{setting}: {path} {problem}; give {wanted}")
    return path


def _is_number(value: object) -> TypeGuard[int | float]:
    """Whether it is one; a whole number beyond those that a float can hold is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, float) or abs(value) <= sys.float_info.max
