"""The append-only journal of a run: one candidate or epoch a line, the truth of it."""

from __future__ import annotations

import json
import os
import types
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import (
    IO,
    Any,
    ClassVar,
    Generic,
    NoReturn,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

from diswot.errors import UserError

__all__ = ["Epoch", "Journal", "Record", "Scored"]


@dataclass(frozen=True)
class Record:
    """One candidate.

    Attributes:
        arch: Text form.
        score: Fitness when it was told; None where the status is not ``ok``.
        parts: Components of the fitness, by name.
        others: Components of every further proxy, by its name; None where it could not be measured.
        params: Trainable parameters.
        flops: Multiply-accumulates of one image.
        layers: Convolutions and linear layers.
        status: ``ok`` or ``failed``.
        reason: Why it, or one of the others, failed.
        generation: In which it was asked, from 0.
        cached: Whether it was answered from an earlier line.
        seconds: Time its scoring took.
    """

    file: ClassVar[str] = "candidates.jsonl"

    arch: str
    score: float | None
    parts: dict[str, float]
    others: dict[str, dict[str, float] | None]
    params: int | None
    flops: int | None
    layers: int | None
    status: str
    reason: str | None
    generation: int
    cached: bool
    seconds: float


@dataclass(frozen=True)
class Scored:
    """One architecture under the eyes of all proxies.

    Attributes:
        arch: Text form.
        seed: That keyed parameters and mini-batch.
        parts: Components of every proxy's score, by its name; those that could be measured.
        failures: Why each other proxy could not.
        params: Trainable parameters.
        flops: Multiply-accumulates of one image.
        layers: Convolutions and linear layers.
        seconds: What each proxy takes, see `diswot.scoring.scorer.Measurement`.
    """

    file: ClassVar[str] = "scores.jsonl"

    arch: str
    seed: int
    parts: dict[str, dict[str, float]]
    failures: dict[str, str]
    params: int | None
    flops: int | None
    layers: int | None
    seconds: dict[str, float]


@dataclass(frozen=True)
class Epoch:
    """One epoch of training.

    Attributes:
        epoch: From 0.
        lr: Learning rate at its end.
        losses: Means over its batches, by name; ``loss`` is what was minimised.
        val_loss: Cross-entropy of the evaluated network.
        val_top1: Its accuracy in percent.
        val_top5: Share of images whose class is among its five likeliest, in percent.
        best_val_top1: The best so far.
        images_per_second: Trained, not counting validation.
        seconds: With validation.
    """

    file: ClassVar[str] = "epochs.jsonl"

    epoch: int
    lr: float
    losses: dict[str, float]
    val_loss: float
    val_top1: float
    val_top5: float
    best_val_top1: float
    images_per_second: float
    seconds: float


R = TypeVar("R", Record, Scored, Epoch)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _fits(value: object, hint: Any) -> bool:
    """Whether a value read from JSON is of a type that a record's fields have."""
    match get_origin(hint), get_args(hint):
        case types.UnionType, choices:
            return any(_fits(value, choice) for choice in choices)
        case _, (_, of):
            return isinstance(value, dict) and all(_fits(each, of) for each in value.values())
    kinds = (int, float) if hint is float else hint
    return isinstance(value, kinds) and isinstance(value, bool) == (hint is bool)


class Journal(Generic[R]):
    """Reads and appends records.

    Args:
        path: The file; made by the first `append`.
        kind: Of its records.
    """

    def __init__(self, path: Path, kind: type[R]) -> None:
        self.path = path
        self._kind: type[R] = kind
        hints = get_type_hints(kind)
        self._hints = {field.name: hints[field.name] for field in fields(kind)}
        self._file: IO[bytes] | None = None

    def read(self) -> list[tuple[R, int]]:
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

    def _records(self, data: bytes) -> Iterator[tuple[R, int]]:
        end = 0
        for number, line in enumerate(data.splitlines(keepends=True), start=1):
            end += len(line)
            try:
                values: dict[str, Any] = json.loads(line, parse_constant=_refuse)
                if set(values) != set(self._hints):
                    raise ValueError(f"fields {sorted(values)}")
                if wrong := [k for k, hint in self._hints.items() if not _fits(values[k], hint)]:
                    raise ValueError(f"{wrong[0]} is {json.dumps(values[wrong[0]])[:60]}")
            except (ValueError, TypeError) as error:
                raise UserError(
                    f"{self.path}, line {number} is damaged ({error}); mend or remove the line "
                    "and all after it, or choose another hydra.run.dir"
                ) from error
            yield self._kind(**values), end

    def cut(self, length: int) -> None:
        """Drop all lines beyond a length in bytes, as `read` gives them."""
        if self.path.exists() and self.path.stat().st_size > length:
            with self.path.open("r+b") as file:
                file.truncate(length)
                os.fsync(file.fileno())

    def append(self, record: R) -> None:
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
