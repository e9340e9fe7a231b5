"""A paper's table on the page: ours beside the published figure, and how far apart they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from diswot.tables import Cell, Table
from diswot.tables.table import decimals, figure, measured

__all__ = ["Shown", "table_section", "terminal_table"]


@dataclass(frozen=True)
class Shown:
    """One cell.

    Attributes:
        ours: Mean ± standard deviation and interval; empty where nothing was measured.
        seeds: Of ours.
        paper: As published, with its unit.
        apart: Ours less the published one; empty without both.
        side: ``above``, ``below`` or ``level``, seen from the published one.
        note: Number of the footnote that names the source, 0 without one.
    """

    ours: str = ""
    seeds: int = 0
    paper: str = ""
    apart: str = ""
    side: str = ""
    note: int = 0


def table_section(table: Table) -> dict[str, object]:
    """All that the page says of a table."""
    notes: dict[str, int] = {}
    digits = {column: decimals(table, column) for column in table.columns}
    rows = [
        (row, [_shown(table.cells.get((row, column)), digits[column], notes) for column in digits])
        for row in table.rows
    ]
    seeds = sorted({cell.seeds for cell in table.cells.values() if cell.seeds})
    return {"table": table, "rows": rows, "notes": list(notes), "seeds": seeds}


def _shown(cell: Cell | None, places: int, notes: dict[str, int]) -> Shown:
    if cell is None:
        return Shown()
    told = cell.reference
    ours = measured(cell, places) if cell.seeds else ""
    number = notes.setdefault(told, len(notes) + 1) if told else 0
    if cell.paper is None:
        return Shown(ours, cell.seeds, note=number)
    paper = f"{cell.paper_text} {cell.unit}".strip()
    if cell.value is None or not cell.seeds:
        return Shown(ours, cell.seeds, paper, note=number)
    apart = round(cell.value - cell.paper, places)
    side = "above" if apart > 0 else "below" if apart < 0 else "level"
    sign = "+" if apart > 0 else ""
    return Shown(ours, cell.seeds, paper, f"{sign}{figure(apart, places)}", side, number)


def terminal_table(table: Table) -> Any:
    """The same for a terminal: ours, in brackets the published figure.

    Rows and columns in which nothing was measured are left to the files, unless nothing was at all.
    """
    from rich.table import Table as Grid
    from rich.text import Text

    known = [place for place, cell in table.cells.items() if cell.seeds]
    in_rows, in_columns = {row for row, _ in known}, {column for _, column in known}
    rows = [row for row in table.rows if not known or row in in_rows]
    columns = [column for column in table.columns if not known or column in in_columns]
    grid = Grid(title=Text(table.title), title_justify="left")
    if (len(rows), len(columns)) != (len(table.rows), len(table.columns)):
        grid.caption = "Rows and columns with published figures alone are in table.md."
    grid.add_column("")
    for column in columns:
        grid.add_column(Text(column), justify="right")
    digits = {column: decimals(table, column) for column in columns}
    for row in rows:
        cells = [_shown(table.cells.get((row, column)), digits[column], {}) for column in digits]
        told = [f"{cell.ours}\n{f'({cell.paper})' if cell.paper else ''}".strip() for cell in cells]
        grid.add_row(Text(row), *(Text(each or "—") for each in told))
    return grid
