"""A logger of Lightning's that fails."""

import errno
from typing import Any

from lightning.pytorch.loggers.logger import DummyLogger


class Odd(DummyLogger):
    """Fails at its second point, in the way that is asked for."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.points = how, 0

    def log_metrics(self, *args: Any, **kwargs: Any) -> None:
        self.points += 1
        if self.points == 2:
            raise ValueError("gone") from (
                OSError(errno.ENOSPC, "disk full") if self.how == "full" else None
            )
