"""What every logger keeps to."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Cell", "Logger", "Run", "sweep_folder"]

Cell = str | int | float | bool | None

_SINGLE = ("space", "teacher", "student", "strategy", "benchmark", "data", "init", "protocol")
_SEVERAL = ("proxy", "distiller")


def _nothing(_: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Run:
    """What a logger is told of the run it follows.

    Attributes:
        command: ``search``, ``train`` or ``rank``.
        path: The run directory.
        config: The resolved config.
        axis: What steps count: ``evaluated`` proposals, ``epoch``, or ``scored`` architectures.
        group: Of runs that belong together: the folder of a sweep.
        tell: Shows people a line while a logger starts, such as what it waits for.
    """

    command: str
    path: Path
    config: Mapping[str, Any]
    axis: str
    group: str | None = None
    tell: Callable[[str], None] = _nothing

    @property
    def name(self) -> str:
        """The run directory's; of a shard with that of the ranking."""
        parts = self.path.resolve().parts
        return "/".join(parts[-2:] if self.config.get("shard") else parts[-1:])

    @property
    def tags(self) -> tuple[str, ...]:
        """Chosen members, ``<group>:<name>``."""
        return tuple(self._tags())

    def _tags(self) -> Iterator[str]:
        for group in _SINGLE:
            if node := self.config.get(group):
                yield f"{group}:{node.get('name') or _class_name(node)}"
        for group in _SEVERAL:
            yield from (f"{group}:{name}" for name in self.config.get(group) or ())


def _class_name(node: Mapping[str, Any]) -> str:
    """Of a member without a name: ``fashion_mini`` for ``FashionMini``."""
    words = re.findall(r"[A-Z][^A-Z]*", str(node.get("_target_")).rpartition(".")[2])
    return "_".join(words).lower().removesuffix("_data")


def sweep_folder() -> str | None:
    """The folder of the sweep that this Hydra job belongs to, None outside of one."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    hydra = HydraConfig.get()
    return str(hydra.sweep.dir) if hydra.mode is RunMode.MULTIRUN else None


class Logger(ABC):
    """Gets what a run measures as it goes.

    A run that goes on after a stop starts its loggers anew, and tells them only what is new: what
    was there before is to be kept. A full disk (`OSError`) ends the run as it does everywhere.

    Attributes:
        errors: Exceptions after which a run goes on without the logger.
    """

    errors: tuple[type[Exception], ...] = ()

    @abstractmethod
    def start(self, run: Run) -> str | None:
        """Get ready, before anything is measured.

        Returns:
            Where to look, for people.

        Raises:
            UserError: A setting or a key is wrong.
        """

    @abstractmethod
    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Keep what was measured.

        Args:
            metrics: Finite numbers by name.
            step: On the run's axis.
        """

    def table(  # noqa: B027 (it may be left out)
        self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]
    ) -> None:
        """Keep a table; the run directory has it too."""

    def image(self, name: str, path: Path) -> None:  # noqa: B027
        """Keep a PNG file; the run directory has it too."""

    def finish(self, summary: Mapping[str, Any], *, failed: bool) -> None:  # noqa: B027
        """End; called once after `start`, also where the run did not get to its end.

        Args:
            summary: What ``result.json`` holds; empty where there is none.
            failed: Whether the run was stopped or refused.
        """
