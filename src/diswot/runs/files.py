"""Files that are there whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from diswot.errors import UnreadableError

__all__ = ["read_json", "replacing", "write_atomic", "write_json"]


def write_atomic(path: Path, data: bytes) -> None:
    """Replace ``path`` in one step; after a crash it holds the old or the new content.

    Raises:
        OSError: The disk is full or the folder cannot be written; ``path`` is unchanged.
    """
    with replacing(path, f".{path.name}.tmp") as file:  # one name: a run has one process
        file.write(data)


@contextmanager
def replacing(path: Path, draft_name: str) -> Iterator[IO[bytes]]:
    """Give a file to write to, which takes the place of ``path`` when all went well.

    Args:
        path: What is replaced, in one step.
        draft_name: Of the file until then, in the same folder; processes that write the same path
            at once need different ones.

    Raises:
        OSError: See `write_atomic`.
    """
    draft = path.with_name(draft_name)
    try:
        draft.unlink(missing_ok=True)  # of a killed process; or a link, which must not be followed
        with draft.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException as error:  # Ctrl-C too
        draft.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, str(draft)):
            error.filename = str(path)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_json(path: Path, value: Any) -> None:
    """Replace ``path`` by strict JSON: no NaN, no infinity."""
    text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False)
    write_atomic(path, f"{text}\n".encode())


def read_json(path: Path, remedy: str = "") -> dict[str, Any]:
    """Read a JSON object from an existing file.

    Raises:
        UnreadableError: It is no JSON object; the message ends with the remedy.
    """
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UnreadableError(path, error, remedy=remedy) from error
    if not isinstance(value, dict):
        raise UnreadableError(path, "no JSON object", remedy=remedy)
    return value
