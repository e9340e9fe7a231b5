"""A paper's table on the page: ours beside the published figure, and how far apart they are."""

from __future__ import annotations

from typing import Any

from diswot.tables import Cell, Table
from diswot.tables.table import decimals, figure, measured

__all__ = ["table_section", "terminal_table"]


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


def _shown(cell: Cell | None, places: int, notes: dict[str, int]) -> dict[str, Any]:
    """Texts of a cell, and the number of the footnote that names its source, 0 without one."""
    cell = cell or Cell()
    apart, source = None, cell.reference
    if cell.seeds and cell.value is not None and cell.paper is not None:
        apart = round(cell.value - cell.paper, places)
    return {
        "ours": measured(cell, places) if cell.seeds else "",
        "seeds": cell.seeds,
        "paper": f"{cell.paper_text} {cell.unit}".strip() if cell.paper is not None else "",
        "apart": "" if apart is None else ("+" if apart > 0 else "") + figure(apart, places),
        "side": "level" if not apart else "above" if apart > 0 else "below",
        "note": notes.setdefault(source, len(notes) + 1) if source else 0,
    }


def terminal_table(table: Table) -> Any:
    """The same for a terminal: ours, in brackets the published figure.

    Rows and columns in which nothing was measured are left to the files, unless nothing was at all.
    """
    from rich.table import Table as Grid
    from rich.text import Text

    known = [place for place, cell in table.cells.items() if cell.seeds] or [*table.cells]
    in_rows, in_columns = {row for row, _ in known}, {column for _, column in known}
    columns = [column for column in table.columns if column in in_columns]
    grid = Grid(title=Text(table.title), title_justify="left")
    if len(in_rows) < len(table.rows) or len(columns) < len(table.columns):
        grid.caption = "Rows and columns with published figures alone are in table.md."
    grid.add_column("")
    for column in columns:
        grid.add_column(Text(column), justify="right")
    digits = {column: decimals(table, column) for column in columns}
    for row in (row for row in table.rows if row in in_rows):
        cells = [_shown(table.cells.get((row, column)), digits[column], {}) for column in digits]
        texts = [c["ours"] + (f"\n({c['paper']})" if c["paper"] else "") for c in cells]
        grid.add_row(Text(row), *(Text(text.strip() or "—") for text in texts))
    return grid
