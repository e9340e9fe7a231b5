"""What the table of runs says of each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diswot.runs import Run

__all__ = ["COLUMNS", "LARGEST", "Value", "at", "facts", "number", "shown", "top1"]

COLUMNS = (
    *(("name", "run"), ("command", "command"), ("state", "state"), ("space", "space")),
    *(("teacher", "teacher"), ("by", "proxy, loss"), ("arch", "arch")),
    *(("score", "score"), ("top1", "top-1, %"), ("params", "params"), ("flops", "MACs")),
    *(("seconds", "seconds"), ("seed", "seed")),
)
"""Keys of `facts` and the heads of their columns."""

LARGEST = 1e100
"""Magnitude up to which figures are drawn and averaged; sums of larger ones may overflow."""


@dataclass(frozen=True)
class Value:
    """A cell of a table.

    Attributes:
        text: What is shown.
        sort: What the table is sorted by, None for nothing.
        title: What is said of it when pointed at.
    """

    text: str
    sort: float | str | None
    title: str = ""


_NOTHING = Value("—", None)


def at(node: object, *keys: str) -> Any:
    """A value in nested mappings, None where one of them has no such key or is none."""
    for key in keys:
        node = node.get(key) if isinstance(node, Mapping) else None
    return node


def number(value: object) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def shown(value: float, digits: int = 5) -> str:
    """A number for people: with a minus sign, and commas in whole ones."""
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{value:,.0f}".replace("-", "−")
    return f"{value:.{digits}g}".replace("-", "−")


def facts(run: Run, name: str) -> dict[str, Value]:
    """The cells of a run's line, by the keys of `COLUMNS`.

    Args:
        run: In any state.
        name: What to call it.
    """
    result, config = run.result, run.config
    arch = result.get("arch") or at(config, "student", "arch") or result.get("student")
    counts = {key: number(result.get(key)) for key in ("score", "params", "flops", "seconds")}
    return {
        "name": Value(name, name, str(run.path)),
        "command": _text(run.command),
        "state": Value(run.state, run.state, run.problem or ""),
        "space": _text(result.get("space") or at(config, "space", "name")),
        "teacher": _text(_teacher(run)),
        "by": _text(_by(run)),
        "arch": _text(arch or at(config, "student", "name")),
        **{key: _count(value) for key, value in counts.items()},
        "top1": _accuracy(run),
        "seed": _count(number(config.get("seed"))),
    }


def _teacher(run: Run) -> object:
    alone = run.command == "train" and not run.config.get("distiller")
    return None if alone else run.result.get("teacher") or at(run.config, "teacher", "name")


def _by(run: Run) -> str:
    key = "distiller" if run.command == "train" else "proxy"
    names = run.config.get(key) or run.result.get(key) or ()
    if isinstance(names, str):
        return names
    return ", ".join(map(str, names)) if isinstance(names, Mapping | Sequence) else ""


def top1(run: Run) -> tuple[float | None, str]:
    """Accuracy in percent, and what it is of."""
    if run.command == "train":
        return number(run.result.get("test_top1")), "on the test images, after the last epoch"
    standings = at(run.result, "benchmark", "standings")
    if not isinstance(standings, list):
        return None, ""
    order = sorted(standings, key=lambda each: at(each, "target") != "distilled")
    for each in order:
        told = (
            f"{at(each, 'dataset')}, {at(each, 'target')}, {at(run.result, 'benchmark', 'source')}"
        )
        return number(at(each, "accuracy")), f"of the benchmark: {told}"
    return None, ""


def _accuracy(run: Run) -> Value:
    value, what = top1(run)
    if value is None:
        return _NOTHING
    return Value(f"{value:.2f}{'†' if run.command == 'search' else ''}", value, what)


def _text(value: object) -> Value:
    return Value(str(value), str(value)) if value else _NOTHING


def _count(value: float | None) -> Value:
    return _NOTHING if value is None else Value(shown(value), value)
