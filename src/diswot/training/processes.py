"""Several processes that train one student together."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from diswot import _torchvision
from diswot.training.failures import explained

_torchvision.ensure()

from lightning.pytorch.strategies import DDPStrategy  # noqa: E402  (imports torchvision)
from lightning.pytorch.strategies.launchers.multiprocessing import (  # noqa: E402
    _MultiProcessingLauncher,
)

__all__ = ["Processes", "quiet"]


@contextmanager
def quiet() -> Iterator[None]:
    """Lightning's hints on hardware and workers are not for those who use this program."""
    logger = logging.getLogger("lightning.pytorch")
    utilities = logging.getLogger("lightning.fabric")
    before = logger.level, utilities.level
    logger.setLevel(logging.ERROR)
    utilities.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    finally:
        logger.setLevel(before[0])
        utilities.setLevel(before[1])


class Processes(DDPStrategy):
    """DDP over fresh interpreters of this machine.

    Args:
        backend: ``nccl`` or ``gloo``.
        told: Arguments of `diswot.training.failures.explained`, which each process does itself.
    """

    def __init__(self, backend: str, told: tuple[Path, int, int]) -> None:
        super().__init__(start_method="spawn", process_group_backend=backend)
        self.told = told

    def _configure_launcher(self) -> None:
        self._launcher = _Launcher(self, start_method="spawn")


class _Launcher(_MultiProcessingLauncher):
    """Being of this module, it is unpickled after torchvision was made to load."""

    def _wrapping_function(self, *args: Any, **kwargs: Any) -> None:
        strategy = self._strategy
        assert isinstance(strategy, Processes)
        with quiet(), explained(*strategy.told):
            super()._wrapping_function(*args, **kwargs)
