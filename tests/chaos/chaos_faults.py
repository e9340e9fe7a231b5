"""Faults at the calls by which a process changes its files: a kill, or an error of the disk.

The calls are those of Python itself: opening a file to write, what its buffer hands to the system,
truncating, ``fsync``, ``replace``, ``unlink`` and ``mkdir``. What the program does is not changed.
"""

import io
import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

WRITING = ("open", "write", "fsync", "mkdir")
"""Calls that fail on a full disk."""


@dataclass(frozen=True)
class Step:
    """One call, and the file or folder it is of, below the watched folder."""

    call: str
    name: str

    def __str__(self) -> str:
        return f"{self.call} {self.name}"


@dataclass
class Disk:
    """Counts the steps below a folder; at the step ``at`` there is a fault.

    With ``error`` the call fails with that errno, once, or with ``lasting`` also every later one
    that needs room; a write has written its first half then, as a disk that fills up takes a part
    and refuses the rest. Without it the process is killed before the call, with ``half`` in the
    middle of a write.

    Attributes:
        steps: All calls so far.
    """

    root: Path
    at: int | None = None
    error: int | None = None
    lasting: bool = False
    half: bool = False
    steps: list[Step] = field(default_factory=list)

    def step(self, call: str, path: str | Path, write: Callable[[], object] = lambda: None) -> None:
        """Note a call; ``write`` writes half of it, where the process is killed within."""
        path = Path.cwd() / path
        if not path.is_relative_to(self.root):
            return
        number = len(self.steps)
        name = re.sub(r"\.[0-9a-f]{8}\.tmp$", ".tmp", str(path.relative_to(self.root)))
        name = re.sub(r"trainings/[^/]+", "trainings/N", name)
        self.steps.append(Step(call, name))
        if self.at is None or number < self.at or (number > self.at and not self.lasting):
            return
        if self.error is None:
            if self.half:
                write()
            os.kill(os.getpid(), signal.SIGKILL)
        elif number == self.at or call in WRITING:
            raise OSError(self.error, os.strerror(self.error), *([str(path)] * (call != "write")))

    @staticmethod
    def read_steps(root: Path) -> list[Step]:
        """Those of a process that was `watched` there, with no fault."""
        return [Step(*each) for each in json.loads(Path(f"{root}.steps").read_text())]

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Stand between this process and its files."""
        fsync, replace, unlink, mkdir = os.fsync, os.replace, os.unlink, os.mkdir

        def synced(handle: int) -> None:
            self.step("fsync", Path(f"/proc/self/fd/{handle}").readlink())
            fsync(handle)

        def replaced(source: Any, target: Any, **rest: Any) -> None:
            self.step("replace", target)
            replace(source, target, **rest)

        def unlinked(path: Any, **rest: Any) -> None:
            if os.path.lexists(path):
                self.step("unlink", path)
            unlink(path, **rest)

        def made(path: Any, *rest: Any, **further: Any) -> None:
            if not Path(path).is_dir():
                self.step("mkdir", path)
            mkdir(path, *rest, **further)

        with (
            patch("io.open", self._opened),
            patch("os.fsync", synced),
            patch("os.replace", replaced),
            patch("os.unlink", unlinked),
            patch("os.mkdir", made),
        ):
            yield
        if self.at is None:
            listed = [[step.call, step.name] for step in self.steps]
            Path(f"{self.root}.steps").write_text(json.dumps(listed))

    def _opened(
        self, file: Any, mode: str = "r", buffering: int = -1, *text: Any, **rest: Any
    ) -> Any:
        other = isinstance(file, int) or not (Path.cwd() / file).is_relative_to(self.root)
        if other or not set(mode) & set("wax+"):
            return _OPEN(file, mode, buffering, *text, **rest)
        self.step("open", file)
        raw = _Raw(self, os.fspath(file), mode.replace("b", "").replace("t", ""))
        buffer = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffer if "b" in mode else io.TextIOWrapper(buffer, *text, **rest)


_OPEN = io.open


class _Raw(io.FileIO):
    """A file below its buffer: a write is one call of the system."""

    def __init__(self, disk: Disk, path: str, mode: str) -> None:
        super().__init__(path, mode)
        self._disk = disk
        self._refused: OSError | None = None

    def write(self, data: Any) -> int:
        if self._refused is not None:
            error, self._refused = self._refused, None
            raise error
        whole, half = bytes(data), bytes(data[: len(data) // 2])
        try:
            self._disk.step("write", str(self.name), lambda: super(_Raw, self).write(half))
        except OSError as error:
            if not half:
                raise
            self._refused = error  # the buffer asks again for the rest, and hears it then
            return super().write(half)
        return super().write(whole)

    def truncate(self, size: int | None = None) -> int:
        self._disk.step("truncate", str(self.name))
        return super().truncate(size)
