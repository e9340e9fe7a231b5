"""The tables a run left, read as data: what is damaged is said, never trusted."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

from diswot.reporting.page.svg import plain
from diswot.reporting.search_plot import Point
from diswot.runs import EpochRecord, RankRow

__all__ = ["MOST", "UnreadableError", "damaged", "epochs", "points", "rank_rows"]

MOST = 64 * 2**20
"""Bytes of a file, or of a matrix in it, that are read."""


class UnreadableError(Exception):
    """A file of a run is missing, damaged or too large; the message says which."""


def points(folder: Path) -> list[Point]:
    """The candidates of a search in ask order.

    A search that has not finished has only its journal, with the scores as they were told.

    Raises:
        UnreadableError: Neither file is there, or it is damaged.
    """
    table = folder / "candidates.csv"
    file = table if table.is_file() else folder / "candidates.jsonl"
    lines = _csv(file) if file is table else _journal(file)
    try:
        return [_point(line) for line in lines]
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise damaged(file, error) from error


def _point(line: Mapping[str, Any]) -> Point:
    score, params = _number(line["score"]), _number(line["params"])
    return Point(str(line["arch"]), score, params, int(line["generation"]))


def epochs(folder: Path) -> list[EpochRecord]:
    """The epochs of a training, as far as it has come.

    Raises:
        UnreadableError: There is no journal, or it is damaged.
    """
    file = folder / EpochRecord.file
    try:
        return [_epoch(line) for line in _journal(file)]
    except (KeyError, ValueError, TypeError, OverflowError, AttributeError) as error:
        raise damaged(file, error) from error


def _epoch(line: Mapping[str, Any]) -> EpochRecord:
    values = {field.name: line[field.name] for field in fields(EpochRecord)}
    losses = {plain(name): _finite(value) for name, value in values.pop("losses").items()}
    number = int(values.pop("epoch"))
    return EpochRecord(epoch=number, losses=losses, **{k: _finite(v) for k, v in values.items()})


def rank_rows(folder: Path) -> list[RankRow]:
    """The rows of a ranking, target by target, best first.

    Raises:
        UnreadableError: There is no ``rank.csv``, or it is damaged.
    """
    file = folder / "rank.csv"
    hints = get_type_hints(RankRow)
    try:
        return [RankRow(**{k: _typed(line[k], hints[k]) for k in hints}) for line in _csv(file)]
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise damaged(file, error) from error


def _typed(text: str, kind: type) -> Any:
    if kind is bool:
        return text == "True"
    if kind is float:
        return math.nan if text == "" else _finite(text)
    return kind(text)


def _csv(file: Path) -> Iterator[dict[str, str]]:
    try:
        yield from csv.DictReader(io.StringIO(_text(file)), strict=True)
    except csv.Error as error:
        raise damaged(file, error) from error


def _journal(file: Path) -> Iterator[dict[str, Any]]:
    """Whole lines; the last one may be half written, and is left alone."""
    for line in _text(file).split("\n")[:-1]:
        try:
            yield json.loads(line)
        except (ValueError, RecursionError) as error:
            raise damaged(file, error) from error


def _text(file: Path) -> str:
    try:
        if not file.is_file():
            raise UnreadableError(f"{file.name} is missing")
        if file.stat().st_size > MOST:
            raise UnreadableError(f"{file.name} is larger than {MOST // 2**20} MB")
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise damaged(file, error) from error


def _number(value: object) -> float | None:
    if value is None or value == "":
        return None
    number = float(value)  # type: ignore[arg-type]  # TypeError is what is meant
    return number if math.isfinite(number) else None


def _finite(value: Any) -> float:
    """The number, NaN instead of an infinite one."""
    number = float(value)
    return number if math.isfinite(number) else math.nan


def damaged(file: Path, error: Exception) -> UnreadableError:
    """What to raise where a file cannot be understood."""
    told = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return UnreadableError(f"{file.name} is damaged ({told})")
