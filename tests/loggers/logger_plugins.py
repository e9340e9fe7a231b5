"""Loggers that fail."""

from __future__ import annotations

import errno
from collections.abc import Mapping

from diswot.loggers import Logger, Run


class Odd(Logger):
    """Fails at its second point, in the way that is asked for."""

    errors = (ValueError,)

    def __init__(self, name: str, how: str) -> None:
        self.name, self.how, self.points = name, how, 0

    def start(self, run: Run) -> None:
        pass

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        self.points += 1
        if self.points == 2:
            raise ValueError("gone") if self.how == "gone" else OSError(errno.ENOSPC, "disk full")
