"""Tells loggers of the epochs that are kept."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diswot import _torchvision
from diswot.models.cost import count_flops, count_params
from diswot.runs import EpochRecord

_torchvision.ensure()

from lightning import Callback, LightningModule, Trainer  # noqa: E402  (imports torchvision)

if TYPE_CHECKING:
    from diswot.loggers import Loggers
    from diswot.training.setup import TrainingSetup

__all__ = ["EpochLog"]

_PAUSE = 1.0  # seconds between two looks at the journal that other processes write


class EpochLog:
    """Reads the journal of a training as it grows.

    The journal is written by one process of several, of which this one may be none; and an epoch
    that is in it but not yet in the checkpoint is redone after a kill. So this is no callback of
    the trainer: it logs a line once the checkpoint is not older than the journal.

    Args:
        loggers: Started.
        folder: The run directory.
        setup: What is trained.
    """

    def __init__(self, loggers: Loggers, folder: Path, setup: TrainingSetup) -> None:
        self._loggers = loggers
        self._journal = folder / EpochRecord.file
        self._checkpoint = folder / "last.ckpt"
        self._setup = setup
        self._read = 0
        self._failure: OSError | None = None

    @contextmanager
    def following(self) -> Iterator[list[Callback]]:
        """Log what is added to the journal from here on; gives what the trainer must call.

        Raises:
            OSError: The disk is full.
        """
        if not self._loggers:
            yield []
            return
        self._read = self._journal.stat().st_size if self._journal.exists() else 0
        if self._setup.protocol.devices == 1:
            yield [_EachEpoch(self)]
        else:
            with self._watching():
                yield []
        self.catch_up()

    def catch_up(self) -> None:
        """Log the epochs that are kept and were not logged."""
        for epoch in self._new():
            metrics: dict[str, Any] = asdict(epoch)
            step, losses = metrics.pop("epoch"), metrics.pop("losses")
            metrics |= {f"train_{name}": value for name, value in losses.items()}
            if step == 0:
                metrics |= self._size()
            self._loggers.log(metrics, step)

    def finish(self, result: Mapping[str, Any]) -> None:
        """Give the loggers the result and the picture."""
        if self._loggers:
            self._loggers.finished(result, [self._journal.with_name("curves.png")])

    def _new(self) -> list[EpochRecord]:
        if not (self._checkpoint.exists() and self._journal.exists()):
            return []
        kept = self._checkpoint.stat().st_mtime_ns >= self._journal.stat().st_mtime_ns
        with self._journal.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        lines = data[: data.rfind(b"\n") + 1].splitlines(keepends=True)
        lines = lines if kept else lines[:-1]
        self._read += sum(map(len, lines))
        return [EpochRecord(**json.loads(line)) for line in lines]

    def _size(self) -> dict[str, int]:
        data, student = self._setup.data, self._setup.module.student
        image = (data.in_channels, data.image_size, data.image_size)
        return {"params": count_params(student), "flops": count_flops(student, image)}

    @contextmanager
    def _watching(self) -> Iterator[None]:
        """Look at the journal now and then, in a thread: this process only waits for others."""
        done = threading.Event()
        thread = threading.Thread(target=self._watch, args=(done,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
        if self._failure is not None:
            raise self._failure

    def _watch(self, done: threading.Event) -> None:
        try:
            while not done.wait(_PAUSE):
                self.catch_up()
        except OSError as error:
            self._failure = error


class _EachEpoch(Callback):
    """Looks at the journal after `diswot.training.keeper.Keeper` has kept an epoch."""

    def __init__(self, log: EpochLog) -> None:
        self._log = log

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The epoch before is kept by now."""
        self._log.catch_up()
