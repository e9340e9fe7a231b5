"""What a run gives to a table, and how the seeds of one cell become one figure."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean, stdev

from diswot.errors import UserError
from diswot.runs import Run
from diswot.tables.conditions import UnusableError
from diswot.tables.files import Key, Result

__all__ = ["Record", "Skip", "UnusableError", "date_of", "read_lines", "united"]


Skip = Callable[[Run, str], None]
"""Called with every run that does not enter the table, and why."""


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
        settings: That all runs of its cell must share, see `conditions.but_for_seed`.
    """

    fields: Mapping[str, str]
    value: float | None
    seeds: tuple[int, ...]
    paths: tuple[Path, ...]
    date: str
    std: float | None = None
    low: float | None = None
    high: float | None = None
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def figures(self) -> tuple[object, ...]:
        """All but where it comes from."""
        return (self.value, self.std, self.low, self.high, self.seeds)


def united(key: Key, records: Sequence[Record]) -> Result:
    """The one figure of a cell.

    Equal records, as every ranking has of the number of parameters, count once; records of one seed
    each give mean and standard deviation.

    Raises:
        UserError: Two records of one seed differ, or records of several seeds in other settings:
            the labels do not tell them apart.
    """
    distinct = list({record.figures: record for record in records}.values())
    if len(distinct) > 1:
        _check_apart(key, distinct)
        _check_settings(key, records)
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
            raise _together(key, others[0], record)
        first |= dict.fromkeys(record.seeds, record)


def _together(key: Key, one: Record, other: Record) -> UserError:
    if one.paths != other.paths and (names := _differences(one, other)):
        return _unlike(key, names, one, other)
    if one.paths == other.paths:
        apart = [name for name, value in one.fields.items() if other.fields[name] != value]
        both = f"two figures of {one.paths[0]} belong there, which differ in {', '.join(apart)}"
    else:
        first, second = sorted([one.paths[0], other.paths[0]])
        both = f"{first} and {second} both belong there"
    return UserError(
        f"row {key[0]}, column {key[1]}: {both}; tell them apart by row, column or where in "
        "table.yaml"
    )


def _check_settings(key: Key, records: Sequence[Record]) -> None:
    """Equal figures may stem from several settings, of which one must be that of all seeds."""
    by_figure: dict[object, list[Record]] = {}
    for record in records:
        by_figure.setdefault(record.figures, []).append(record)
    first, *others = by_figure.values()
    settings = [[record.settings for record in same] for same in others]
    if any(all(one.settings in each for each in settings) for one in first):
        return
    pairs = [(one, other) for one in first for same in others for other in same]
    differ = [(names, *pair) for pair in pairs if (names := _differences(*pair))]
    raise _unlike(key, *min(differ, key=lambda each: len(each[0])))


def _unlike(key: Key, names: Sequence[str], one: Record, other: Record) -> UserError:
    return UserError(
        f"row {key[0]}, column {key[1]}: {one.paths[0]} and {other.paths[0]} are no seeds of one "
        f"figure: {names[0]} is {one.settings.get(names[0], 'not set')} in one, "
        f"{other.settings.get(names[0], 'not set')} in the other; tell them apart by row, column "
        "or conditions in table.yaml"
    )


def _differences(one: Record, other: Record) -> list[str]:
    mine, theirs = one.settings, other.settings
    return [name for name in sorted({*mine, *theirs}) if mine.get(name) != theirs.get(name)]


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
    """Of the newest result, in UTC: when its file was written, so that a copy may be younger."""
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
