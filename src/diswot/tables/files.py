"""The files of a table's folder: ``paper.csv``, ``results.csv``, and both as a `Table`."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from diswot.errors import UserError
from diswot.runs.files import write_atomic
from diswot.tables.base import Cell, Table
from diswot.tables.lines import PAPER, RESULTS, Key, number, read_cells
from diswot.tables.spec import Spec

__all__ = ["Key", "Result", "is_table", "load_table", "write_results"]

_NOISE = 1e-12  # relative; a spread below stems from rounding


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
    measured = read_cells(path / "results.csv", RESULTS)
    published = read_cells(path / "paper.csv", PAPER)
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
    writer.writerow(RESULTS)
    for result in results:
        line = {**vars(result), "scale": scale, "std": _spread(result)}
        writer.writerow([_short(line[column]) for column in RESULTS])
    write_atomic(path, text.getvalue().encode())


def _spread(result: Result) -> float | None:
    if result.std is None or result.value is None:
        return result.std
    return 0.0 if result.std <= _NOISE * abs(result.value) else result.std


def _short(value: object) -> object:
    """Eight digits: counts of parameters stay whole."""
    return f"{value:.8g}" if isinstance(value, float) else value


def _distinct(labels: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(label for label in labels if label))


def _measured(line: Mapping[str, str]) -> Cell:
    return Cell(
        value=number(line["value"]),
        std=number(line["std"]),
        low=number(line["low"]),
        high=number(line["high"]),
        seeds=int(line["seeds"]),
    )


def _with_paper(cell: Cell, line: Mapping[str, str], file: Path) -> Cell:
    value = number(line["value"])
    if value is not None and not line["source"]:
        raise UserError(
            f"{file}: row {line['row']}, column {line['column']} has a value but no source; say "
            "where it was read, or leave it empty"
        )
    return replace(
        cell,
        paper=value,
        paper_std=number(line["std"]),
        source=line["source"],
        note=line["note"],
        unit=line["unit"],
        paper_text=_published(line),
    )


def _published(line: Mapping[str, str]) -> str:
    """Value and spread in their own digits."""
    if not line["value"]:
        return ""
    return " ± ".join(_grouped(line[name]) for name in ("value", "std") if line[name])


def _grouped(text: str) -> str:
    """With a real minus sign and grouped thousands."""
    return re.sub("[0-9]+", lambda whole: f"{int(whole[0]):,}", text, count=1).replace("-", "−")
