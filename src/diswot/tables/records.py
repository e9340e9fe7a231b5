"""What a run gives to a table, and how the seeds of one cell become one figure."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean, stdev

from diswot.errors import UserError
from diswot.reporting.runs import Run
from diswot.tables.files import Key, Result

__all__ = ["Record", "Skip", "UnusableError", "date_of", "read_lines", "united"]


class UnusableError(Exception):
    """A run cannot enter the table; the message says why."""


Skip = Callable[[Run, str], None]
"""Told of every run that does not enter the table, and why."""


@dataclass(frozen=True)
class Record:
    """One figure of one run, or of runs that differ in the seed alone.

    Attributes:
        fields: What it is told apart by, see `diswot.tables.spec.FIELDS`.
        value: None where it is not defined.
        seeds: It is the mean of.
        paths: Of the runs.
        date: Of the newest result.
        std: Standard deviation over its seeds.
        low: Lower limit of the 95 % interval over architectures.
        high: Upper limit.
    """

    fields: Mapping[str, str]
    value: float | None
    seeds: tuple[int, ...]
    paths: tuple[Path, ...]
    date: str
    std: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def figures(self) -> tuple[object, ...]:
        """All but where it comes from."""
        return (self.value, self.std, self.low, self.high, self.seeds)


def united(key: Key, records: Sequence[Record]) -> Result:
    """The one figure of a cell.

    Equal records, as every ranking has of the number of parameters, count once; records of one seed
    each give mean and standard deviation.

    Raises:
        UserError: Two records of one seed differ: the labels do not tell them apart.
    """
    distinct = list({record.figures: record for record in records}.values())
    if len(distinct) > 1:
        _check_apart(key, distinct)
        return _mean(key, distinct)
    only = distinct[0]
    return Result(
        *key,
        value=only.value,
        std=only.std,
        low=only.low,
        high=only.high,
        seeds=len(only.seeds),
        date=max(record.date for record in records),
        runs=len({path for record in records for path in record.paths}),
    )


def _check_apart(key: Key, records: Sequence[Record]) -> None:
    first: dict[int, Record] = {}
    for record in records:
        others = [first[seed] for seed in record.seeds if seed in first]
        if len(record.seeds) > 1:  # an interval over architectures: no mean can have one
            others += [other for other in records if other is not record]
        if others:
            one, other = sorted([others[0].paths[0], record.paths[0]])
            raise UserError(
                f"row {key[0]}, column {key[1]}: {one} and {other} both belong there; tell "
                "them apart by row, column or where in table.yaml"
            )
        first |= dict.fromkeys(record.seeds, record)


def _mean(key: Key, records: Sequence[Record]) -> Result:
    values = [record.value for record in records if record.value is not None]
    defined = len(values) == len(records)
    return Result(
        *key,
        value=mean(values) if defined else None,
        std=stdev(values) if defined else None,
        low=None,
        high=None,
        seeds=len(records),
        date=max(record.date for record in records),
        runs=len(records),
    )


def date_of(runs: Iterable[Run]) -> str:
    """Of the newest result, in UTC."""
    newest = max((run.path / "result.json").stat().st_mtime for run in runs)
    return datetime.fromtimestamp(newest, UTC).date().isoformat()


def read_lines(file: Path, needed: Sequence[str]) -> list[dict[str, str]]:
    """The lines of a CSV file that a run left.

    Raises:
        UnusableError: It is missing or damaged.
    """
    try:
        with file.open(newline="", encoding="utf-8") as text:
            reader = csv.DictReader(text, strict=True)
            header = set(reader.fieldnames or ())
            lines = list(reader)
    except (OSError, ValueError, csv.Error) as error:
        raise UnusableError(f"{file.name} cannot be read ({error})") from error
    lacking = set(needed) - header
    if lacking or any(None in line or None in line.values() for line in lines):
        problem = f"lacks {', '.join(sorted(lacking))}" if lacking else "has incomplete lines"
        raise UnusableError(f"{file.name} {problem}")
    return lines
