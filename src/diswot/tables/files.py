"""The files of a table's folder: ``paper.csv``, ``results.csv``, and both as a `Table`."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from diswot.errors import UserError
from diswot.storage.files import write_atomic
from diswot.tables.base import Cell, Table
from diswot.tables.spec import Spec

__all__ = ["Result", "is_table", "load_table", "write_results"]

_PAPER = ("row", "column", "value", "std", "unit", "source", "note")
_RESULTS = ("row", "column", "value", "std", "low", "high", "seeds", "scale", "date", "runs")
_NUMBERS = ("value", "std", "low", "high", "seeds")

Key = tuple[str, str]


@dataclass(frozen=True)
class Result:
    """A line of ``results.csv``: the measured half of a `Cell`.

    Attributes:
        row: Label as shown.
        column: Label as shown.
        value: Mean over seeds, None where it is not defined.
        std: Standard deviation over seeds.
        low: Lower limit of the 95 % interval over architectures.
        high: Upper limit.
        seeds: How many.
        date: Of the newest result.
        runs: How many it was taken from.
    """

    row: str
    column: str
    value: float | None
    std: float | None
    low: float | None
    high: float | None
    seeds: int
    date: str
    runs: int


def is_table(path: Path) -> bool:
    """Whether a path is the folder of a table."""
    return (path / "table.yaml").is_file()


def load_table(path: Path) -> Table:
    """Read a table's folder.

    Args:
        path: Holds table.yaml and paper.csv, results.csv or both.

    Raises:
        UserError: A file is damaged, or there is no figure at all.
    """
    spec = Spec.load(path)
    measured = _lines(path / "results.csv", _RESULTS)
    published = _lines(path / "paper.csv", _PAPER)
    if not measured and not published:
        raise UserError(f"{path} holds neither figures in paper.csv nor results in results.csv")
    cells = {key: _measured(line) for key, line in measured.items()}
    for key, line in published.items():
        cells[key] = _with_paper(cells.get(key, Cell()), line, path / "paper.csv")
    return Table(
        name=path.resolve().name,
        title=spec.title,
        paper=spec.paper,
        scale="; ".join(_distinct(line["scale"] for line in measured.values())) or spec.scale,
        date=max((line["date"] for line in measured.values()), default=""),
        rows=_distinct(row for row, _ in cells),
        columns=_distinct(column for _, column in cells),
        cells=cells,
    )


def write_results(path: Path, results: Sequence[Result], scale: str) -> None:
    """Replace a ``results.csv``.

    Raises:
        OSError: It cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_RESULTS)
    for result in results:
        line = {**vars(result), "scale": scale}
        writer.writerow([_short(line[column]) for column in _RESULTS])
    write_atomic(path, text.getvalue().encode())


def _short(value: object) -> object:
    """Eight digits: counts of parameters stay whole."""
    return f"{value:.8g}" if isinstance(value, float) else value


def _distinct(labels: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(label for label in labels if label))


def _lines(file: Path, columns: Sequence[str]) -> dict[Key, dict[str, str]]:
    """By row and column; none where there is no such file.

    Raises:
        UserError: It is no such CSV file.
    """
    if not file.is_file():
        return {}
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            reader = csv.reader(text, strict=True)
            header = next(reader, [])
            lines = [(reader.line_num, line) for line in reader if line]
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{file} cannot be read ({error})") from error
    if tuple(header) != tuple(columns):
        raise UserError(f"{file}: its columns must be {','.join(columns)}")
    found: dict[Key, dict[str, str]] = {}
    for number, line in lines:
        if len(line) != len(columns):
            raise UserError(f"{file}, line {number}: {len(line)} fields, not {len(columns)}")
        named = dict(zip(columns, map(str.strip, line), strict=True))
        _check(named, found, f"{file}, line {number}")
        found[named["row"], named["column"]] = named
    return found


def _check(line: Mapping[str, str], found: Mapping[Key, object], where: str) -> None:
    key = line["row"], line["column"]
    if not all(key):
        raise UserError(f"{where}: row and column need a label")
    if key in found:
        raise UserError(f"{where}: repeats row {key[0]}, column {key[1]}")
    for name in _NUMBERS:
        if line.get(name) and not math.isfinite(_float(line[name])):
            raise UserError(f"{where}: {name} is {line[name]!r}, not a number")
    if line.get("seeds") and _float(line["seeds"]) % 1:
        raise UserError(f"{where}: seeds is {line['seeds']!r}, not a whole number")


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _number(text: str) -> float | None:
    return float(text) if text else None


def _measured(line: Mapping[str, str]) -> Cell:
    return Cell(
        value=_number(line["value"]),
        std=_number(line["std"]),
        low=_number(line["low"]),
        high=_number(line["high"]),
        seeds=int(float(line["seeds"] or 0)),
    )


def _with_paper(cell: Cell, line: Mapping[str, str], file: Path) -> Cell:
    value = _number(line["value"])
    if value is not None and not line["source"]:
        raise UserError(
            f"{file}: row {line['row']}, column {line['column']} has a value but no source; say "
            "where it was read, or leave it empty"
        )
    return replace(
        cell,
        paper=value,
        paper_std=_number(line["std"]),
        source=line["source"],
        note=line["note"],
        unit=line["unit"],
    )
