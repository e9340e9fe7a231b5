"""Learning rates as pure functions of how far training is; no state to save."""

import math
from collections.abc import Callable, Sequence

from diswot.checks import number
from diswot.errors import UserError

Schedule = Callable[[float, int], float]
"""From epochs done (with fractions) and epochs in all to what the learning rate is times."""


def multistep(
    epoch: float, epochs: int, *, milestones: Sequence[float], gamma: float = 0.1, warmup: float = 0
) -> float:
    """Steps down by ``gamma`` at each milestone, after ``warmup`` epochs of linear growth.

    A milestone that is never reached, or a warm-up longer than ``epochs``, raises `UserError`.
    """
    if any(not 0 < milestone < epochs for milestone in milestones):
        raise UserError(
            f"protocol.schedule.milestones={list(milestones)}: with protocol.max_epochs={epochs} "
            f"only epochs above 0 and below {epochs} are ever reached"
        )
    steps = sum(epoch >= milestone for milestone in milestones)
    return _warm(epoch, epochs, warmup) * float(gamma) ** steps


def cosine(epoch: float, epochs: int, *, warmup: float = 0, final: float = 0) -> float:
    """Half a cosine from 1 to ``final`` (Loshchilov & Hutter, ICLR 2017, without restarts).

    It begins after ``warmup`` epochs of linear growth. A warm-up longer than ``epochs``, or a share
    outside 0 to 1, raises `UserError`.
    """
    number("protocol.schedule.final", final, low=0, high=1)
    warm = _warm(epoch, epochs, warmup)
    done = 0 if epoch <= warmup else min((epoch - warmup) / (epochs - warmup), 1)
    return warm * (final + (1 - final) * (1 + math.cos(math.pi * done)) / 2)


def _warm(epoch: float, epochs: int, warmup: float) -> float:
    if number("protocol.schedule.warmup", warmup, low=0) > epochs:
        raise UserError(
            f"protocol.schedule.warmup={warmup:g}: give at most protocol.max_epochs={epochs}, or 0"
        )
    # From a tenth, so that the first step moves too.
    return 1.0 if epoch >= warmup else 0.1 + 0.9 * epoch / warmup
