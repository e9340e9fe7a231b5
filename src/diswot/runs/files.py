"""Files of a run: those that are whole or not there, and the append-only journal."""

import json
import lzma
import os
import re
import struct
import time
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Generic, TypeVar

import msgspec

from diswot.errors import UnreadableError
from diswot.runs.latencies import LatencyRecord
from diswot.runs.races import RaceRecord
from diswot.runs.records import CandidateRecord, EpochRecord, ProbeRecord, ScoreRecord
from diswot.runs.syntheses import SynthesisRecord

R = TypeVar(
    "R",
    CandidateRecord,
    LatencyRecord,
    ScoreRecord,
    EpochRecord,
    RaceRecord,
    ProbeRecord,
    SynthesisRecord,
)

DAMAGED_ARRAYS = (
    *(AttributeError, EOFError, LookupError, MemoryError, OSError, RuntimeError, SyntaxError),
    *(TypeError, ValueError, lzma.LZMAError, struct.error, tokenize.TokenError),
    *(zipfile.BadZipFile, zlib.error),
)
"""Errors of ``np.load`` for archives that are cut off or damaged, seen by damaging some."""

_SYNC_SECONDS = 1.0
_DEEPEST = 100  # lists and objects inside each other, in a file of a run
_SEAL = re.compile(rb',"crc32":(\d+)\}\s*$')
_REMEDY = "mend or remove the line and all after it, or choose another hydra.run.dir"


def write_atomic(path: Path, data: bytes) -> None:
    """Replace ``path`` in one step; after a crash or an OSError it holds old or new content."""
    with replacing(path, f".{path.name}.tmp") as file:  # one name: a run has one process
        file.write(data)


@contextmanager
def replacing(path: Path, draft_name: str, *, synced: bool = True) -> Iterator[IO[bytes]]:
    """Give a file to write to, which replaces ``path`` in one step when all went well.

    Until then it has its draft name, in the same folder; processes that write the same path at
    once need different ones. Errors as of `write_atomic`. What is not ``synced`` to the disk
    outlives the death of this process, but not a power cut.
    """
    draft = path.with_name(draft_name)
    try:
        draft.unlink(missing_ok=True)  # of a killed process; or a link, which must not be followed
        with draft.open("xb") as file:
            yield file
            file.flush()
            if synced:
                os.fsync(file.fileno())
        draft.replace(path)
    except BaseException as error:  # Ctrl-C too
        draft.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, str(draft)):
            error.filename = str(path)
        raise
    if not synced:
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        with _named(path.parent):
            os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """An OSError says which file it is of; Python's own of an open one do not."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


def write_json(path: Path, value: Any) -> None:
    """Replace ``path`` by strict JSON: no NaN, no infinity."""
    text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False)
    write_atomic(path, f"{text}\n".encode())


def sealed(text: str) -> bytes:
    """The line of a JSON object that is not empty, with the CRC-32 of its text as last entry."""
    content = text.encode()
    return content[:-1] + b',"crc32":%d}\n' % zlib.crc32(content)


def unsealed(line: bytes) -> tuple[bytes, bool]:
    """The text of a line, and whether `sealed` made it; a ValueError where it has changed since."""
    seal = _SEAL.search(line)
    if seal is None:
        return line, False
    content = line[: seal.start()] + b"}"
    if zlib.crc32(content) != int(seal[1]):
        raise ValueError("its checksum is that of another content")
    return content, True


def read_json(path: Path, remedy: str = "") -> dict[str, Any]:
    """Read a JSON object; an `UnreadableError`, which ends with the remedy, where it is none.

    One that was `sealed` must be as it was written.
    """
    try:
        value = json.loads(unsealed(path.read_bytes())[0])
    except (ValueError, RecursionError) as error:
        raise UnreadableError(path, error, remedy=remedy) from error
    if not isinstance(value, dict):
        raise UnreadableError(path, "no JSON object", remedy=remedy)
    if _is_deeper(value, _DEEPEST):
        raise UnreadableError(path, f"nested more than {_DEEPEST} times", remedy=remedy)
    return value


def _is_deeper(value: Any, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels < 0 or any(_is_deeper(each, levels - 1) for each in inner)


class Journal(Generic[R]):
    """Reads and appends records of one kind; the first `append` makes the file.

    A line ends with the checksum of its content; those of earlier versions, which had none, are
    read where they stand before all that have one.
    A line outlives the death of this process as soon as it is appended; to the disk, where it
    outlives a power cut, all are brought once a second and by `close`.
    """

    def __init__(self, path: Path, kind: type[R]) -> None:
        self.path = path
        self._kind: type[R] = kind
        self._file: IO[bytes] | None = None
        self._synced = 0.0

    def read(self) -> list[tuple[R, int]]:
        """All records, each with the journal's length in bytes up to and with it.

        A torn last line, left by a kill or a full disk, is cut off the file; another line that is
        no record, or has changed since it was written, raises `UnreadableError`.
        """
        if not self.path.exists():
            return []
        data = self.path.read_bytes()
        self.cut(data.rfind(b"\n") + 1)
        return list(self._records(data))

    def peek(self) -> list[R]:
        """All whole records, without a change to a file that another process may write.

        Without a journal, or where a line is no record, raises `UnreadableError`.
        """
        try:
            return [record for record, _ in self._records(self.path.read_bytes())]
        except OSError as error:
            raise UnreadableError(self.path, error.strerror) from error

    def _records(self, data: bytes) -> Iterator[tuple[R, int]]:
        end, checked = 0, False
        whole = data[: data.rfind(b"\n") + 1]
        for number, line in enumerate(whole.splitlines(keepends=True), start=1):
            end += len(line)
            try:
                content, has_checksum = unsealed(line)
                if checked and not has_checksum:
                    raise ValueError("it has no checksum, but a line before it has one")
                checked = has_checksum
                yield msgspec.json.decode(content, type=self._kind), end
            except (msgspec.MsgspecError, ValueError, RecursionError) as error:
                raise UnreadableError(self.path, error, line=number, remedy=_REMEDY) from error

    def cut(self, length: int) -> None:
        """Drop all lines beyond a length in bytes, as `read` gives them."""
        if self.path.exists() and self.path.stat().st_size > length:
            with _named(self.path), self.path.open("r+b") as file:
                file.truncate(length)
                os.fsync(file.fileno())

    def append(self, record: R) -> None:
        """Add a line; it is in the file when this returns."""
        values = msgspec.to_builtins(record)
        line = json.dumps(values, allow_nan=False, separators=(",", ":"))
        if self._file is None:
            self._file = self.path.open("ab")
        with _named(self.path):
            self._file.write(sealed(line))
            self._file.flush()
            if time.monotonic() - self._synced >= _SYNC_SECONDS:
                self._sync(self._file)

    def _sync(self, file: IO[bytes]) -> None:
        os.fsync(file.fileno())
        self._synced = time.monotonic()

    @property
    def length(self) -> int:
        """Bytes of all lines."""
        return self.path.stat().st_size if self.path.exists() else 0

    def close(self) -> None:
        """Bring all lines to the disk and close the file."""
        if self._file is not None:
            with _named(self.path):
                self._file.flush()
                self._sync(self._file)
                self._file.close()
            self._file = None
