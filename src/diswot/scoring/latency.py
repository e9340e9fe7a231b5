"""Milliseconds of a forward pass: measured on this machine, or read from a table."""

from __future__ import annotations

import math
import platform
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from diswot.checks import choice, flag, positive, whole
from diswot.config import make
from diswot.errors import UnfitError, UserError
from diswot.keys import generator
from diswot.models.zoo import REFUSALS
from diswot.runs import Journal, LatencyRecord, LatencySummary
from diswot.scoring.runtime import Runtime, resolve_device
from diswot.teaching import build_teacher

if TYPE_CHECKING:
    from diswot.scoring.setup import Setup
    from diswot.spaces.base import Arch

_CLOCKS = {"thread": ("CPU time", time.thread_time), "wall": ("wall time", time.perf_counter)}
_KEYS = ("arch", "cell")  # what the column of architectures may be called


class Latency(ABC):
    """Where latencies are from, which ``source`` says for people.

    With ``always`` every candidate has one, else only where a limit or an objective asks for it.

    Raises:
        UserError: ``always`` is not true or false.
    """

    source: str
    costs_nothing: ClassVar[bool] = False
    """Whether it may be asked of all architectures of a space."""

    def __init__(self, *, always: bool) -> None:
        self.always = flag("latency.always", always)

    @abstractmethod
    def of(
        self, name: str, build: Callable[[], nn.Module], image: tuple[int, int, int]
    ) -> LatencyRecord | None:
        """Of the network that ``build`` gives, on images ``(in_channels, height, width)``.

        ``name`` is the text of its architecture. Of a teacher, whose name has a blank, None where
        it cannot be known.

        Raises:
            UserError: There is none of this architecture.
        """


class MeasuredLatency(Latency):
    """Times forward passes in eval mode, without gradients, in float32 and channels_last.

    The images are noise, the weights fresh; one pass of ``batch_size`` images is timed ``repeats``
    times, after ``warmup`` passes. The median counts, the interquartile range is its spread. The
    clock ``thread`` is the CPU time of this thread, so that other processes do not count. With
    several threads, and on CUDA, it has to be ``wall``.

    Raises:
        UserError: A number that is no whole one or too small, CUDA where there is none, or a clock
            that cannot time the pass.
    """

    def __init__(
        self,
        *,
        batch_size: int,
        threads: int,
        device: str,
        clock: str,
        warmup: int,
        repeats: int,
        always: bool,
    ) -> None:
        super().__init__(always=always)
        self.batch_size = whole("latency.batch_size", batch_size, 1)
        self.threads = whole("latency.threads", threads, 1)
        self.warmup = whole("latency.warmup", warmup, 0)
        self.repeats = whole("latency.repeats", repeats, 1)
        self.device = resolve_device(choice("latency.device", device, ("cpu", "cuda")))
        self.clock = choice("latency.clock", clock, _CLOCKS)
        if clock == "thread" and (self.threads, self.device) != (1, "cpu"):
            raise UserError(
                f"latency.clock=thread times one thread of the CPU, not threads={self.threads} on "
                f"{self.device}; give latency.clock=wall"
            )
        used = f"{self.threads} thread{'s' * (self.threads > 1)}, " if device == "cpu" else ""
        passes = f"median {_CLOCKS[clock][0]} of {self.repeats} passes"
        self.source = f"batch {self.batch_size}, {used}{passes}"

    def of(
        self, name: str, build: Callable[[], nn.Module], image: tuple[int, int, int]
    ) -> LatencyRecord:
        """See `Latency`."""
        with torch.random.fork_rng(devices=[]):  # layers draw defaults
            network = Runtime(self.device).place(build()).eval()
        noise = torch.randn(self.batch_size, *image, generator=generator("latency"))
        images = noise.to(self.device).contiguous(memory_format=torch.channels_last)
        threads = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            with torch.inference_mode():
                for _ in range(self.warmup):
                    self._seconds(network, images)
                times = [1000 * self._seconds(network, images) for _ in range(self.repeats)]
        finally:
            torch.set_num_threads(threads)
        low, median, high = np.percentile(times, (25, 50, 75))
        figures = round(float(median), 4), round(float(high - low), 4)
        return LatencyRecord(name, *figures, device=_device_name(self.device))

    def _seconds(self, network: nn.Module, images: Tensor) -> float:
        _, clock = _CLOCKS[self.clock]
        self._wait()
        started = clock()
        network(images)
        self._wait()
        return clock() - started

    def _wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()


def _device_name(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        if names:
            return names[0]
    return platform.processor() or platform.machine()


class LatencyTable(Latency):
    """Latencies in a CSV file with a column ``arch`` (or ``cell``) and columns of milliseconds.

    A negative number says that the device does not run the architecture: it is inside no limit.

    Raises:
        UserError: There is no such file or ``column``, or an architecture is in it twice.
    """

    costs_nothing = True

    def __init__(self, *, path: str | Path | None, column: str | None, always: bool) -> None:
        super().__init__(always=always)
        wanted = "a CSV file with a column arch and one of milliseconds"
        if path is None:
            raise UserError(f"latency.path: not given; give {wanted}")
        self._path = Path(path).expanduser()
        if not self._path.is_file():
            raise UserError(f"latency.path: {self._path} is no file; give {wanted}")
        self._column = column
        self._known = self._read(wanted)
        self.source = f"{column} of {self._path}"

    def _read(self, wanted: str) -> dict[str, Any]:
        import pandas as pd

        try:
            table = pd.read_csv(self._path)
        except (OSError, ValueError, EOFError) as error:  # what pandas raises is a ValueError
            problem = " ".join(str(error).split())
            raise UserError(
                f"latency.path: {self._path} cannot be read ({problem}); give {wanted}"
            ) from error
        if not isinstance(table.index, pd.RangeIndex):
            raise UserError(f"latency.path: {self._path}: a line has more cells than line 1")
        key = next((each for each in _KEYS if each in table), None)
        if key is None:
            raise UserError(f"latency.path: {self._path} has no column arch; give {wanted}")
        columns = [c for c in table if c not in (*_KEYS, "index")]
        if self._column not in columns:
            raise UserError(
                f"latency.column={self._column}: {self._path} has no such column of milliseconds; "
                f"it has {', '.join(map(str, columns)) or 'none'}"
            )
        if (twice := table[key][table[key].duplicated()]).size:
            raise UserError(f"latency.path: {self._path} has {twice.iloc[0]} twice")
        return dict(zip(table[key].astype(str), table[self._column].tolist(), strict=True))

    def of(
        self, name: str, build: Callable[[], nn.Module], image: tuple[int, int, int]
    ) -> LatencyRecord | None:
        """See `Latency`."""
        if " " in name:
            return None
        if name not in self._known:
            raise UserError(
                f"latency.path: {self._path} has no latency of {name}; give a table of all "
                "architectures of the space, or latency=measured"
            )
        value = self._known[name]
        if isinstance(value, int | float) and value < 0:
            return LatencyRecord(name, math.inf, None)
        value = positive(f"latency.column={self._column}: {name}", value)
        return LatencyRecord(name, value, None)


class Latencies:
    """The latencies of one run; each architecture has one, the first, also after a stop.

    What is measured comes in no other time out the same, so it is kept in the run's journal, and
    `keep` brings it there: after the run has begun, and before anything that depends on it.

    ``image`` is ``(in_channels, height, width)``.
    """

    def __init__(
        self,
        latency: Latency,
        build: Callable[[Arch], nn.Module],
        image: tuple[int, int, int],
        journal: Journal[LatencyRecord],
    ) -> None:
        self._latency, self._build, self._image, self._journal = latency, build, image, journal
        self._known = {record.arch: record for record, _ in journal.read()}
        self._fresh: list[LatencyRecord] = []
        self.known_all = latency.costs_nothing
        self.teacher_ms: float | None = None

    def of(self, arch: Arch) -> LatencyRecord:
        """Of an architecture, infinite where it does not run; UserError if a table lacks it."""
        record = self._of(str(arch), lambda: self._build(arch))
        assert record is not None  # None is of teachers
        return record

    def _of(self, name: str, build: Callable[[], nn.Module]) -> LatencyRecord | None:
        if (known := self._known.get(name)) is not None:
            return known
        try:
            record = self._latency.of(name, build, self._image)
        except (UnfitError, *REFUSALS) as error:  # too small an image, too little memory
            if name.startswith("teacher "):
                problem = str(error).strip().split("\n")[0][:300]
                raise UserError(f"latency: {name} cannot be run: {problem}") from error
            record = LatencyRecord(name, math.inf, None)  # scoring it says why
        if record is not None:
            self._known[name] = record
            if record.device is not None:  # a table knows it always
                self._fresh.append(record)
        return record

    def look_at_teacher(self, name: str, build: Callable[[], nn.Module]) -> None:
        """Set ``teacher_ms``, as far as it can be known."""
        record = self._of(f"teacher {name}", build)
        self.teacher_ms = None if record is None else record.latency_ms

    def keep(self) -> None:
        """Bring what was measured to the disk."""
        for record in self._fresh:
            self._journal.append(record)
        self._fresh.clear()
        self._journal.close()

    def source(self) -> str:
        """What the latencies are, for people."""
        records = self._known.values()
        devices = dict.fromkeys(record.device for record in records if record.device)
        where = f"measured on {' and '.join(devices)}, " if devices else ""
        return f"{where}{self._latency.source}"

    def summary(self) -> LatencySummary:
        """What the result says of them."""
        measured = [r for r in self._known.values() if r.spread_ms is not None]
        shares = [(record.spread_ms or 0.0) / record.latency_ms for record in measured]
        spread = round(float(np.median(shares)), 4) if shares else None
        return LatencySummary(self.source(), spread, self.teacher_ms)


def make_latencies(config: Mapping[str, Any], setup: Setup, folder: Path) -> Latencies | None:
    """Those of the run in ``folder``, whose config is resolved; None where nothing asks for them.

    The teacher's is measured, too. UserError for settings that are wrong.
    """
    latency = make(config["latency"], "latency", Latency)
    limited = config["budget"].get("latency_ms") is not None
    aimed_at = "latency_ms" in (config["strategy"].get("objectives") or ())
    if not (limited or aimed_at or latency.always):
        return None
    sizes = setup.num_classes, setup.data.in_channels, setup.data.image_shape[-1]
    latencies = Latencies(
        latency,
        lambda arch: setup.space.built_for(arch, *sizes),
        setup.data.image_shape,
        Journal(folder / LatencyRecord.file, LatencyRecord),
    )
    if setup.teacher is not None:
        spec = {**setup.teacher_spec, "weights": "none"}
        build = partial(build_teacher, spec, setup.data, setup.num_classes)
        latencies.look_at_teacher(setup.teacher, build)
    return latencies
