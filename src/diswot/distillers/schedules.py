"""Weights and temperatures that change with the epoch, pure functions of it.

In a config a number, or ``{from: 1, to: 4, shape: cosine, epochs: 100}``. Temperatures that fall or
rise over a training are of the kin of Jafari et al., "Annealing Knowledge Distillation", EACL 2021,
and Li et al., "Curriculum Temperature for Knowledge Distillation", AAAI 2023, which learns them;
the cyclical shape is the triangular one of Smith, "Cyclical Learning Rates for Training Neural
Networks", WACV 2017.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from diswot.checks import choice, whole
from diswot.errors import UserError

SHAPES: dict[str, Callable[[float], float]] = {
    "linear": lambda cycles: min(cycles, 1),
    "cosine": lambda cycles: (1 - math.cos(math.pi * min(cycles, 1))) / 2,
    "cyclical": lambda cycles: 1 - abs(1 - 2 * (cycles % 1)),
}
"""From epochs done, in units of ``epochs``, to the share of the way."""

_KEYS = ("from", "to", "shape", "epochs")


Given = float | Mapping[str, object]
"""A setting as a config has it."""


@dataclass(frozen=True)
class Schedule:
    """A number that goes from ``start`` in the first epoch to ``end``, and stays there.

    It arrives after ``epochs`` of them; a ``cyclical`` one half-way, and is back at ``start`` then,
    again and again.
    """

    start: float
    end: float
    shape: str
    epochs: int

    def __call__(self, epoch: int) -> float:
        """The number in an epoch, counted from 0."""
        return self.start + (self.end - self.start) * SHAPES[self.shape](epoch / self.epochs)

    def __format__(self, _: str) -> str:
        """As it is shown to people, whatever format a number would have."""
        return f"{self.start:g}→{self.end:g} ({self.shape}, {self.epochs} epochs)"


Scheduled = float | Schedule


def scheduled(setting: str, value: Given, check: Callable[[str, object], float]) -> Scheduled:
    """Give a number that keeps ``check``, or a schedule between two that do.

    Raises:
        UserError: What is wrong with the number, or with which part of a schedule.
    """
    if not isinstance(value, Mapping):
        return check(setting, value)
    if set(value) != set(_KEYS):
        raise UserError(f"{setting}={dict(value)}: give a number, or {', '.join(_KEYS)}")
    start, end = (check(f"{setting}.{key}", value[key]) for key in ("from", "to"))
    shape = choice(f"{setting}.shape", str(value["shape"]), SHAPES)
    return Schedule(start, end, shape, whole(f"{setting}.epochs", value["epochs"], least=1))


def at_epoch(value: Scheduled, epoch: int) -> float:
    """The number in an epoch, counted from 0."""
    return value(epoch) if isinstance(value, Schedule) else value
