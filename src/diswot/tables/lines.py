"""The lines of ``paper.csv`` and ``results.csv``, and what is wrong with them."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

from diswot.errors import UserError

__all__ = ["PAPER", "RESULTS", "Key", "number", "read_cells"]

PAPER = ("row", "column", "value", "std", "unit", "source", "note")
RESULTS = ("row", "column", "value", "std", "low", "high", "seeds", "scale", "date", "runs")
_NUMBERS = ("value", "std", "low", "high")
_COUNTS = ("seeds", "runs")
_MOST = 10**6  # seeds or runs of a figure
_DECIMAL = re.compile(r"[-+]?[0-9]{1,30}(\.[0-9]{1,30})?([eE][-+]?[0-9]{1,3})?")

Key = tuple[str, str]
"""Row and column."""


def read_cells(file: Path, columns: Sequence[str]) -> dict[Key, dict[str, str]]:
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
    for place, line in lines:
        if len(line) != len(columns):
            raise UserError(f"{file}, line {place}: {len(line)} fields, not {len(columns)}")
        named = dict(zip(columns, map(str.strip, line), strict=True))
        _check(named, found, f"{file}, line {place}")
        found[named["row"], named["column"]] = named
    return found


def _check(line: Mapping[str, str], found: Mapping[Key, object], where: str) -> None:
    key = line["row"], line["column"]
    if not all(key):
        raise UserError(f"{where}: row and column need a label")
    if key in found:
        raise UserError(f"{where}: repeats row {key[0]}, column {key[1]}")
    for name in _NUMBERS:
        if line.get(name) and not _is_number(line[name]):
            raise UserError(f"{where}: {name} is {line[name]!r}, not a number")
    if (number(line["std"]) or 0) < 0:
        raise UserError(f"{where}: std is {line['std']}, below 0")
    if "seeds" in line:
        _check_measured(line, where)


def _check_measured(line: Mapping[str, str], where: str) -> None:
    for name in _COUNTS:
        if not re.fullmatch("[0-9]{1,7}", line[name]) or not 1 <= int(line[name]) <= _MOST:
            raise UserError(f"{where}: {name} is {line[name]!r}, no whole number of 1 to {_MOST:,}")
    low, high = number(line["low"]), number(line["high"])
    if low is not None and high is not None and low > high:
        raise UserError(f"{where}: low, {low}, is above high, {high}")
    if not _is_date(line["date"]):
        raise UserError(f"{where}: date is {line['date']!r}, none such as 2024-01-31")


def _is_number(text: str) -> bool:
    """Of ASCII digits, and finite."""
    return bool(_DECIMAL.fullmatch(text)) and abs(float(text)) != float("inf")


def _is_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def number(text: str) -> float | None:
    """None for an empty field."""
    return float(text) if text else None
