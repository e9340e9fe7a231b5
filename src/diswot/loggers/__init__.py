"""Loggers of a run: Lightning's, with what they lack for runs that are stopped and go on."""

from __future__ import annotations

import errno
import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any, Self, TypeGuard

from diswot import _torchvision
from diswot.config import make
from diswot.console import print_pairs, shown
from diswot.errors import UserError

if TYPE_CHECKING:
    import pandas as pd
    from lightning.pytorch.loggers import Logger

__all__ = ["LoggedRun", "Loggers"]

_SINGLE = ("space", "teacher", "student", "strategy", "benchmark", "data", "init", "protocol")
_SEVERAL = ("proxy", "distiller")


@dataclass(frozen=True)
class LoggedRun:
    """The run that loggers follow; ``group`` is the folder of its sweep.

    ``axis`` is what steps count: ``evaluated`` proposals, ``epoch``, ``scored`` architectures or
    ``trained`` students.
    """

    command: str
    path: Path
    config: Mapping[str, Any]
    axis: str
    group: str | None = None

    @property
    def name(self) -> str:
        """The run directory's; of a shard with that of the ranking."""
        parts = self.path.resolve().parts
        return "/".join(parts[-2:] if self.config.get("shard") else parts[-1:])

    @property
    def tags(self) -> list[str]:
        """Chosen members, ``<group>:<name>``; ``data:fashion_mini`` for ``FashionMini``."""
        tags = [f"{group}:{name}" for group in _SEVERAL for name in self.config.get(group) or ()]
        for group in _SINGLE:
            if node := self.config.get(group):
                words = re.findall(r"[A-Z][^A-Z]*", str(node.get("_target_")).rpartition(".")[2])
                class_name = "_".join(words).lower().removesuffix("_data")
                tags.append(f"{group}:{node.get('name') or class_name}")
        return tags


class Loggers:
    """Starts, feeds and ends Lightning's loggers; a context manager.

    A run that goes on after a stop starts its loggers anew and logs only what is new. A logger that
    fails while the run goes on is left out from there, with a warning; a full disk ends the run.
    ``save_dir: null`` in a logger's node of the config stands for the run directory. What a wrong
    setting raises is a `UserError`.
    """

    def __init__(self, run: LoggedRun, *, quiet: bool = False) -> None:
        nodes = run.config.get("logger") or {}
        if not isinstance(nodes, Mapping):
            raise UserError(f"logger={nodes}: give names of the group, such as logger=[csv,wandb]")
        self._run, self._quiet = run, quiet
        self._openers = {name: self._opener(name, node) for name, node in nodes.items()}
        self._active: dict[str, tuple[Logger, ExitStack]] = {}
        self._started, self._step = False, 0
        self._created: set[Path] = set()

    @property
    def lightning(self) -> list[Logger]:
        """Those that are started, for Lightning's Trainer."""
        return [logger for logger, _ in self._active.values()]

    def __bool__(self) -> bool:
        """Whether any was chosen."""
        return bool(self._openers)

    def __enter__(self) -> Self:
        """Nothing is begun yet: see `start`."""
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """End all, as failed where an exception comes; if nothing was measured, nothing is left."""
        with ExitStack() as stack:  # a full disk must not keep the others from ending
            for name in self._active:
                stack.callback(self._end, name, failed=error is not None)
        if error is not None and not (self._run.path / "config.json").exists():
            for path in self._created:
                rmtree(path) if path.is_dir() else path.unlink()

    def start(self) -> None:
        """Start all, once; a `UserError` where one refuses, before anything is measured."""
        if self._started:
            return
        self._started, before = True, set(self._run.path.glob("*"))
        name = ""
        try:
            for name, opener in self._openers.items():
                with ExitStack() as stack:
                    logger = opener(stack)
                    logger.log_hyperparams(dict(self._run.config))
                    self._active[name] = logger, stack.pop_all()
                if not self._quiet and logger.log_dir:
                    print_pairs({name: shown(Path(logger.log_dir))})
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"logger.{name}: {_one_line(error)}") from error
        finally:
            self._created = set(self._run.path.glob("*")) - before

    def log(self, metrics: Mapping[str, float | None], step: int) -> None:
        """Log what was measured; what is no finite number is left out."""
        self._step = step
        point = {name: value for name, value in metrics.items() if _is_finite(value)}
        self._each(lambda logger: logger.log_metrics({self._run.axis: step, **point}, step))

    def finished(
        self,
        result: Mapping[str, Any],
        images: Sequence[Path],
        tables: Mapping[str, pd.DataFrame] | None = None,
    ) -> None:
        """Log what a run gives at its end; starts loggers that nothing was measured for.

        The numbers of the result are metrics ``result/NAME``; all of it is in W&B's summary too.
        W&B and TensorBoard get images as ``pictures/NAME`` and tables as ``tables/NAME``.
        """
        self.start()
        if not self._active:
            return
        _torchvision.ensure()
        from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
        from matplotlib.image import imread

        from diswot.loggers.wandb import loggable

        kept = {name: value for name, value in result.items() if name not in ("schema", "top")}
        numbers = {f"result/{name}": value for name, value in kept.items() if _is_finite(value)}

        def log(logger: Logger) -> None:
            if isinstance(logger, WandbLogger):
                for name, table in (tables or {}).items():
                    logger.log_table(f"tables/{name}", dataframe=loggable(name, table))
                for path in images:
                    logger.log_image(f"pictures/{path.stem}", [str(path)])
                logger.experiment.summary.update(kept)
            if isinstance(logger, TensorBoardLogger):
                board, step = logger.experiment, self._step
                for name, table in (tables or {}).items():
                    board.add_text(f"tables/{name}", _markdown(table), step)
                for path in images:
                    picture = imread(path)[..., :3]
                    board.add_image(f"pictures/{path.stem}", picture, step, dataformats="HWC")
                logger.log_hyperparams(dict(self._run.config), numbers, step)
            else:
                logger.log_metrics({self._run.axis: self._step, **numbers}, self._step)

        self._each(log)

    def _opener(self, name: str, node: Any) -> Callable[[ExitStack], Logger]:
        """Check the settings of a logger; gives what starts it."""
        _torchvision.ensure()
        from lightning.pytorch.loggers import Logger

        from diswot.loggers.wandb import check_settings, wandb_logger

        if isinstance(node, Mapping) and str(node.get("_target_")).endswith("WandbLogger"):
            check_settings(name, node)
            session = wandb_logger(name, node, self._run, quiet=self._quiet)
            return lambda stack: stack.enter_context(session)
        if isinstance(node, Mapping) and node.get("save_dir", "") is None:
            node = {**node, "save_dir": str(self._run.path)}
        logger: Logger = make(node, f"logger.{name}", Logger)
        return lambda stack: logger

    def _each(self, act: Callable[[Logger], object]) -> None:
        for name, (logger, _) in list(self._active.items()):
            try:
                act(logger)
                logger.save()
            except Exception as error:
                _warn(name, error)
                self._end(name, failed=True)

    def _end(self, name: str, *, failed: bool) -> None:
        _torchvision.ensure()
        from lightning.pytorch.loggers import WandbLogger

        logger, stack = self._active.pop(name)
        try:
            with stack:
                logger.finalize("failed" if failed else "success")
                if isinstance(logger, WandbLogger):  # Lightning leaves its run open
                    logger.experiment.finish(exit_code=int(failed))
        except Exception as error:
            _warn(name, error)


def _is_finite(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _markdown(table: pd.DataFrame) -> str:
    """The first rows, as the text that TensorBoard shows."""
    head = table.head(100).astype(object)
    cells = head.where(head.notna(), "").map(lambda cell: str(cell).replace("|", "\\|"))
    more = f"\n\nand {len(table) - len(head):,} more rows" if len(table) > len(head) else ""
    return f"{cells.to_markdown(index=False, disable_numparse=True)}{more}"


def _one_line(error: Exception) -> str:
    """Kind and message of an error, unless it is a full disk, which is raised."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            raise cause
        cause = cause.__cause__ or cause.__context__
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _warn(name: str, error: Exception) -> None:
    message = f"logger {name} failed ({_one_line(error)}); the run goes on without it"
    warnings.warn(message, stacklevel=1)
