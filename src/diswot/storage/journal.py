"""The append-only journal of a search: one candidate a line, the truth of a run."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO, Any, NoReturn

from diswot.errors import UserError

__all__ = ["Journal", "Record"]


@dataclass(frozen=True)
class Record:
    """One candidate.

    Attributes:
        arch: Text form.
        score: Fitness when it was told; None where the status is not ``ok``.
        parts: Parts of the fitness, by name.
        others: Score of every further proxy, None where it could not be measured.
        params: Trainable parameters.
        flops: Multiply-accumulates of one image.
        layers: Convolutions and linear layers.
        status: ``ok`` or ``failed``.
        reason: Why it, or one of the others, failed.
        generation: In which it was asked, from 0.
        cached: Whether it was answered from an earlier line.
        seconds: Time its scoring took.
    """

    arch: str
    score: float | None
    parts: dict[str, float]
    others: dict[str, float | None]
    params: int | None
    flops: int | None
    layers: int | None
    status: str
    reason: str | None
    generation: int
    cached: bool
    seconds: float


_FIELDS = {field.name for field in fields(Record)}


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


class Journal:
    """Reads and appends records.

    Args:
        path: The file; made by the first `append`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None

    def read(self) -> list[tuple[Record, int]]:
        """All records, each with the journal's length in bytes up to and with it.

        A torn last line, left by a kill or a full disk, is cut off the file.

        Raises:
            UserError: Another line is no record.
        """
        if not self.path.exists():
            return []
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            with self.path.open("r+b") as file:
                file.truncate(whole)
        return list(self._records(data[:whole]))

    def _records(self, data: bytes) -> Iterator[tuple[Record, int]]:
        end = 0
        for number, line in enumerate(data.splitlines(keepends=True), start=1):
            end += len(line)
            try:
                values: dict[str, Any] = json.loads(line, parse_constant=_refuse)
                if set(values) != _FIELDS:
                    raise ValueError(f"fields {sorted(values)}")
            except (ValueError, TypeError) as error:
                raise UserError(
                    f"{self.path}, line {number} is damaged ({error}); mend or remove the line "
                    "and all after it, or choose another hydra.run.dir"
                ) from error
            yield Record(**values), end

    def append(self, record: Record) -> None:
        """Add a line; it is in the file, if not yet on the disk, when this returns."""
        if self._file is None:
            self._file = self.path.open("ab")
        line = json.dumps(asdict(record), allow_nan=False, separators=(",", ":"))
        try:
            self._file.write(f"{line}\n".encode())
            self._file.flush()
        except OSError as error:
            error.filename = str(self.path)
            raise

    def sync(self) -> int:
        """Bring all lines to the disk.

        Returns:
            The journal's length in bytes.
        """
        if self._file is not None:
            os.fsync(self._file.fileno())
        return self.path.stat().st_size if self.path.exists() else 0

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
