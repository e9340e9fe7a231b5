"""A text file that grows: log.csv."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from diswot.errors import UserError
from diswot.loggers.base import Logger, Run

__all__ = ["CSV"]

_HEADER = b"step,name,value\n"


class CSV(Logger):
    """One line a number, so that what is measured may change between two starts.

    Args:
        name: Of the logger.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._path = Path()
        self._file: IO[bytes] | None = None

    def start(self, run: Run) -> str:
        """Open the file of an earlier start; a torn last line, left by a kill, is cut off.

        Raises:
            UserError: There is another file of that name.
        """
        from diswot.console import shown

        self._path = run.path / "log.csv"
        if self._path.exists():
            self._open()
        return shown(self._path)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Add a line a metric, all at once."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerows((step, name, repr(value)) for name, value in metrics.items())
        self._write(text.getvalue().encode())

    def finish(self, summary: Mapping[str, Any], *, failed: bool) -> None:
        """Bring all lines to the disk."""
        if self._file is not None:
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None

    def _open(self) -> None:
        self._file = self._path.open("a+b")
        _mend(self._file, self._path)

    def _write(self, data: bytes) -> None:
        if self._file is None:
            self._open()
        assert self._file is not None
        try:
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            with suppress(OSError):  # what could not be written is tried again
                self._file.close()
            self._file = None
            error.filename = str(self._path)
            raise


def _mend(file: IO[bytes], path: Path) -> None:
    """Leave the header and whole lines."""
    file.seek(0)
    data = file.read()
    whole = data.rfind(b"\n") + 1
    if not (data.startswith(_HEADER) or (not whole and _HEADER.startswith(data))):
        file.close()
        raise UserError(
            f"{path} was not written by logger=csv; remove it, or choose another hydra.run.dir"
        )
    if whole < len(data):
        file.truncate(whole)
    if not whole:
        file.write(_HEADER)
        file.flush()
