"""NAS-Bench-201's accuracies from a CSV file."""

from __future__ import annotations

import csv
import gzip
import math
import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from diswot.accuracies._table import CELLS, REPORTED, Table, is_cell
from diswot.errors import UserError

__all__ = ["CsvTable", "shared_csv"]

_COLUMNS = {name: f"{name.replace('-', '_')}_test_200ep" for name in REPORTED} | {
    f"{name}-12ep{end}": f"{name.replace('-', '_')}_{split}_12ep"
    for name in REPORTED
    for end, split in (("", "test"), ("-val", "val"))
}
_GZIP = b"\x1f\x8b"


def shared_csv() -> Path | None:
    """The file below ``$DISWOT_DATA``, if it is there."""
    root = os.environ.get("DISWOT_DATA")
    path = Path(root or "", "benchmarks", "nasbench201.csv.gz")
    return path if root and path.is_file() else None


class CsvTable(Table):
    """A CSV file, gzipped or not, with one line a cell; its columns stand in docs/data.md."""

    datasets = tuple(_COLUMNS)

    def __init__(self, path: Path | None) -> None:
        found = path or shared_csv()
        if found is None:
            raise UserError(
                "benchmark.path: not given; give a .csv or .csv.gz file with the columns that "
                "docs/data.md lists, or put it at $DISWOT_DATA/benchmarks/nasbench201.csv.gz"
            )
        if not found.is_file():
            raise UserError(f"benchmark.path: {found} is no file; give a .csv or .csv.gz file")
        self.path = found

    @property
    def source(self) -> str:
        """The file's path."""
        return str(self.path)

    def archs(self) -> Sequence[str]:
        """See `Table`; the order of the file."""
        return list(next(iter(self._figures.values())))

    def accuracy(self, cell: str, dataset: str) -> float:
        """See `Table`."""
        if dataset not in self._figures:
            raise UserError(
                f"benchmark.path: {self.path} has no column {_COLUMNS[dataset]}, which "
                f"{dataset} needs; it has figures of {', '.join(self._figures)}"
            )
        return self._figures[dataset][cell]

    @cached_property
    def _figures(self) -> dict[str, dict[str, float]]:
        """Accuracy by data set, then cell."""
        try:
            content = self.path.read_bytes()
            plain = gzip.decompress(content) if content.startswith(_GZIP) else content
            return _parse(plain.decode("utf-8-sig").splitlines())
        except (OSError, EOFError, ValueError, csv.Error, zlib.error) as error:
            raise UserError(
                f"benchmark.path: {self.path} cannot be used ({error}); docs/data.md says "
                f"what it has to hold"
            ) from error


def _parse(lines: Iterable[str]) -> dict[str, dict[str, float]]:
    reader = csv.reader(lines, strict=True)
    header = next(reader, [])
    places = _places(header)
    figures: dict[str, dict[str, float]] = {dataset: {} for dataset in places}
    first_line: dict[str, int] = {}
    for row in reader:
        where = f"line {reader.line_num}"
        if len(row) != len(header):
            raise ValueError(f"{where}: {len(row)} fields, the header has {len(header)}")
        cell = row[header.index("cell")]
        if not is_cell(cell):
            raise ValueError(f"{where}: {cell!r} is no cell of NAS-Bench-201")
        if cell in first_line:
            raise ValueError(f"{where}: repeats the cell of line {first_line[cell]}")
        first_line[cell] = reader.line_num
        for dataset, place in places.items():
            figures[dataset][cell] = _percent(row[place], f"{where}: {header[place]}")
    if len(first_line) != CELLS:
        raise ValueError(f"it holds {len(first_line):,} cells, not {CELLS:,}")
    return figures


def _places(header: Sequence[str]) -> Mapping[str, int]:
    """Where in a row the accuracy on each data set stands."""
    twice = {name for name in header if header.count(name) > 1}
    if twice:
        raise ValueError(f"line 1: column {', '.join(sorted(twice))} stands there twice")
    places = {
        dataset: header.index(column) for dataset, column in _COLUMNS.items() if column in header
    }
    if "cell" not in header or not places:
        columns = ", ".join(_COLUMNS.values())
        raise ValueError(f"line 1: it names no column cell, or none of {columns}")
    return places


def _percent(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 100:
        raise ValueError(f"{where} is {text!r}, not a number from 0 to 100")
    return value
