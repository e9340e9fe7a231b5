"""The tables of a run: its CSV files, the lines of its journals, its similarity matrices."""

from __future__ import annotations

import csv
import io
import math
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from zipfile import BadZipFile

import msgspec

from diswot.errors import UnreadableError
from diswot.runs.files import write_atomic
from diswot.runs.journal import Journal
from diswot.runs.records import CandidateRecord, EpochRecord, RankRow

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pandas import DataFrame

__all__ = [
    "read_candidates",
    "read_epochs",
    "read_rank_rows",
    "read_similarity",
    "read_table",
    "write_table",
]


R = TypeVar("R", CandidateRecord, EpochRecord)


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Replace a CSV file; what is no finite number becomes an empty cell.

    Args:
        path: The file.
        columns: Their names.
        rows: A value a column.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([None if isinstance(v, float) and not math.isfinite(v) else v for v in row])
    write_atomic(path, text.getvalue().encode())


def read_table(file: Path, columns: Iterable[str] = ()) -> DataFrame:
    """A CSV file that a run left; numbers are read to the last bit, empty cells are NaN.

    Args:
        file: The file.
        columns: Those it must have.

    Raises:
        UnreadableError: It is missing or damaged, or lacks a column.
    """
    import pandas as pd

    try:
        table = pd.read_csv(file, keep_default_na=False, na_values=[""])
    except (OSError, ValueError) as error:  # ParserError and UnicodeDecodeError are ValueErrors
        raise UnreadableError(file, error) from error
    if lacking := sorted({*columns} - {*table.columns}):
        raise UnreadableError(file, f"it lacks {', '.join(lacking)}")
    return table


def read_candidates(folder: Path) -> list[CandidateRecord]:
    """The candidates of a search in ask order, as far as it has come.

    Scores that are relative to other candidates are final once the search has finished.

    Raises:
        UnreadableError: A file is missing or damaged.
    """
    records = _peek(Journal(folder / CandidateRecord.file, CandidateRecord))
    if not (folder / "candidates.csv").is_file():
        return records
    table = read_table(folder / "candidates.csv", ("arch", "score"))
    scores = dict(zip(table["arch"].astype(str), table["score"].tolist(), strict=True))
    return [replace(r, score=_or_none(scores.get(r.arch, math.nan))) for r in records]


def _or_none(score: object) -> float | None:
    return score if isinstance(score, int | float) and math.isfinite(score) else None


def read_epochs(folder: Path) -> list[EpochRecord]:
    """The epochs of a training, as far as it has come.

    Raises:
        UnreadableError: There is no journal, or it is damaged.
    """
    return _peek(Journal(folder / EpochRecord.file, EpochRecord))


def read_rank_rows(folder: Path) -> list[RankRow]:
    """The rows of a ranking, target by target, best first.

    Raises:
        UnreadableError: There is no ``rank.csv``, or it is damaged.
    """
    file = folder / "rank.csv"
    table = read_table(file, (field.name for field in fields(RankRow)))
    try:
        return msgspec.convert(table.to_dict("records"), list[RankRow])
    except msgspec.ValidationError as error:
        raise UnreadableError(file, error) from error


def _peek(journal: Journal[R]) -> list[R]:
    try:
        return journal.peek()
    except OSError as error:
        raise UnreadableError(journal.path, error.strerror) from error


def read_similarity(folder: Path) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    """The similarity matrices of a search, of ``similarity.npz``.

    Returns:
        Matrices ``(n, n)`` of teacher and student by kind, ``relation`` and ``semantic``; empty
        where the search left none.

    Raises:
        UnreadableError: The file is damaged.
    """
    import numpy as np

    file = folder / "similarity.npz"
    if not file.is_file():
        return {}
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            kinds = [name.removesuffix("_teacher") for name in arrays if name.endswith("_teacher")]
            pairs = {kind: (arrays[f"{kind}_teacher"], arrays[f"{kind}_student"]) for kind in kinds}
    except (OSError, KeyError, ValueError, EOFError, BadZipFile, zlib.error) as error:
        raise UnreadableError(file, error) from error
    for kind, pair in pairs.items():
        if any(m.ndim != 2 or m.dtype.kind != "f" or m.shape != pair[0].shape for m in pair):
            raise UnreadableError(file, f"{kind}: not two matrices of numbers of one shape")
    return pairs
