"""All loggers of a run as one."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from shutil import rmtree
from types import TracebackType
from typing import Any, Self

from diswot.config import make
from diswot.errors import UserError
from diswot.loggers.base import Cell, Logger, Run

__all__ = ["Loggers"]


class Loggers:
    """Starts, feeds and ends the chosen loggers; a context manager.

    One that fails in a way it names is told so with a warning, and the run goes on without it.

    Args:
        run: What they follow; its config names them.
        quiet: Do not show where they write.

    Raises:
        UserError: A setting is wrong.
    """

    def __init__(self, run: Run, *, quiet: bool = False) -> None:
        nodes = run.config.get("logger") or {}
        if not isinstance(nodes, Mapping):
            raise UserError(f"logger={nodes}: give names of the group, such as logger=[csv,wandb]")
        self._run, self._quiet = run, quiet
        self._chosen = {
            name: make(node, f"logger.{name}", Logger)  # type: ignore[type-abstract]
            for name, node in nodes.items()
        }
        self._active: dict[str, Logger] = {}
        self._started = False
        self._made: set[Path] = set()
        self._summary: dict[str, Any] = {}

    def __enter__(self) -> Self:
        """Nothing is begun yet: see `start`."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End all that were started, as failed where an exception comes.

        If nothing was measured, the run directory is left as it was found.
        """
        self._end_all(failed=error is not None)
        if error is not None and not (self._run.path / "config.json").exists():
            _remove(self._made)

    def __bool__(self) -> bool:
        """Whether any was chosen."""
        return bool(self._chosen)

    def start(self) -> None:
        """Start all, once.

        Raises:
            UserError: One refuses, before anything is measured.
        """
        if self._started:
            return
        self._started = True
        found = set(self._run.path.glob("*"))
        try:
            for name, each in self._chosen.items():
                self._start(name, each)
        except BaseException:  # Ctrl-C too
            self._end_all(failed=True)
            _remove(set(self._run.path.glob("*")) - found)
            raise
        self._made = set(self._run.path.glob("*")) - found

    def _start(self, name: str, logger: Logger) -> None:
        from diswot.console import print_pairs

        def tell(line: str) -> None:
            if not self._quiet:
                print_pairs({name: line})

        told = logger.start(replace(self._run, tell=tell))
        self._active[name] = logger
        if told:
            tell(told)

    def log(self, metrics: Mapping[str, float | None], step: int) -> None:
        """Keep what was measured; what is no finite number is left out."""
        there = {
            name: value
            for name, value in metrics.items()
            if value is not None and math.isfinite(value)
        }
        self._each(lambda logger: logger.log(there, step))

    def finished(
        self,
        result: Mapping[str, Any],
        images: Sequence[Path],
        tables: Mapping[str, tuple[Sequence[str], Sequence[Sequence[Cell]]]] | None = None,
    ) -> None:
        """Keep what a run gives at its end; starts loggers that nothing was measured for.

        Args:
            result: What ``result.json`` holds.
            images: Pictures of the run directory.
            tables: Columns and rows by name.
        """
        self.start()
        self._summary = {key: value for key, value in result.items() if key not in _LONG}
        for name, (columns, rows) in (tables or {}).items():
            self._each(lambda logger: logger.table(name, columns, rows))  # noqa: B023 (called at once)
        for path in images:
            self._each(lambda logger: logger.image(path.stem, path))  # noqa: B023

    def _each(self, act: Callable[[Logger], object]) -> None:
        for name, logger in list(self._active.items()):
            try:
                act(logger)
            except logger.errors as error:
                _warn(name, error)
                self._end(name, failed=True)

    def _end_all(self, *, failed: bool) -> None:
        with ExitStack() as stack:  # a full disk must not keep the others from ending
            for name in self._active:
                stack.callback(self._end, name, failed=failed)

    def _end(self, name: str, *, failed: bool) -> None:
        logger = self._active.pop(name)
        try:
            logger.finish(self._summary, failed=failed)
        except logger.errors as error:
            _warn(name, error)


_LONG = ("schema", "top")
"""What a result holds that tables show."""


def _warn(name: str, error: Exception) -> None:
    told = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    warnings.warn(f"logger {name} failed ({told}); the run goes on without it", stacklevel=1)


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.is_dir():
            rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
