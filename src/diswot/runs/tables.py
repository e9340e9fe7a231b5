"""The tables of a run: its CSV files, the lines of its journals, its similarity matrices."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from diswot.errors import UnreadableError
from diswot.runs.files import DAMAGED_ARRAYS, Journal, write_atomic
from diswot.runs.rankings import RankRow
from diswot.runs.records import CandidateRecord, EpochRecord

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pandas import DataFrame


_MOST_COLUMNS = 10_000


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Replace a CSV file; what is no finite number becomes an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([None if isinstance(v, float) and not math.isfinite(v) else v for v in row])
    write_atomic(path, text.getvalue().encode())


def read_table(file: Path, columns: Iterable[str] = ()) -> DataFrame:
    """A CSV file that a run left; numbers are read to the last bit, empty cells are NaN.

    If it is missing or damaged, or lacks one of the columns, raises `UnreadableError`.
    """
    import pandas as pd

    try:
        with file.open("rb") as stream:
            if stream.readline().count(b",") > _MOST_COLUMNS:  # pandas' time grows with the square
                raise ValueError(f"more than {_MOST_COLUMNS:,} columns")
        table = pd.read_csv(file, keep_default_na=False, na_values=[""])
    except (OSError, ValueError) as error:  # ParserError and UnicodeDecodeError are ValueErrors
        raise UnreadableError(file, error) from error
    if not isinstance(table.index, pd.RangeIndex):
        raise UnreadableError(file, "a line has more cells than there are columns")
    if lacking := sorted({*columns} - {*table.columns}):
        raise UnreadableError(file, f"it lacks {', '.join(lacking)}")
    return table


def read_candidates(folder: Path) -> list[CandidateRecord]:
    """The candidates of a search in ask order, as far as it has come.

    Scores that are relative to other candidates are final once the search has finished. Errors as
    of `Journal.peek` and `read_table`.
    """
    import pandas as pd

    records = Journal(folder / CandidateRecord.file, CandidateRecord).peek()
    if not (folder / "candidates.csv").is_file():
        return records
    table = read_table(folder / "candidates.csv", ("arch", "score"))
    try:
        numbers = pd.to_numeric(table["score"], errors="coerce").tolist()
    except OverflowError as error:
        raise UnreadableError(folder / "candidates.csv", error) from error
    scores = dict(zip(table["arch"].astype(str), numbers, strict=True))
    known = {arch: score for arch, score in scores.items() if math.isfinite(score)}
    return [replace(record, score=known.get(record.arch)) for record in records]


def read_epochs(folder: Path) -> list[EpochRecord]:
    """The epochs of a training, as far as it has come; errors as of `Journal.peek`."""
    return Journal(folder / EpochRecord.file, EpochRecord).peek()


def read_rank_rows(folder: Path) -> list[RankRow]:
    """The rows of a ranking, target by target, best first; errors as of `read_table`."""
    file = folder / "rank.csv"
    table = read_table(file, (f.name for f in fields(RankRow) if f.default is MISSING))
    try:
        return msgspec.convert(table.to_dict("records"), list[RankRow])
    except msgspec.ValidationError as error:
        raise UnreadableError(file, error) from error


def read_similarity(folder: Path) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    """Matrices of teacher and student by kind, of a search's ``similarity.npz``.

    Kinds are ``relation`` and ``semantic``, none where the search left no file; a damaged one
    raises `UnreadableError`.
    """
    import numpy as np

    file = folder / "similarity.npz"
    if not file.is_file():
        return {}
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            kinds = [name.removesuffix("_teacher") for name in arrays if name.endswith("_teacher")]
            pairs = {kind: (arrays[f"{kind}_teacher"], arrays[f"{kind}_student"]) for kind in kinds}
    except DAMAGED_ARRAYS as error:
        raise UnreadableError(file, error) from error
    for kind, pair in pairs.items():
        if not all(isinstance(matrix, np.ndarray) for matrix in pair):
            raise UnreadableError(file, f"{kind}: no arrays")
        if any(m.ndim != 2 or m.dtype.kind != "f" or m.shape != pair[0].shape for m in pair):
            raise UnreadableError(file, f"{kind}: not two matrices of numbers of one shape")
    return pairs
