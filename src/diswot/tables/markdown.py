"""A table as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from diswot.tables.base import Cell, Table

__all__ = ["decimals", "figure", "measured", "to_markdown"]

_SPECIAL = "\\`*<|[]"


def to_markdown(table: Table) -> str:
    """Measured figures in bold, the published ones after them with the number of their source.

    Args:
        table: Of any size; its texts are escaped.
    """
    sources: dict[str, int] = {}
    digits = {column: decimals(table, column) for column in table.columns}
    lines = [
        f"# {_plain(table.title)}",
        "",
        *_about(table),
        "",
        _line(["", *map(_plain, table.columns)]),
        _line(["---"] * (len(table.columns) + 1)),
    ]
    for row in table.rows:
        own = [(table.cells.get((row, column), Cell()), digits[column]) for column in table.columns]
        lines.append(_line([_plain(row), *(_cell(cell, places, sources) for cell, places in own)]))
    lines += ["", *_legend(table)]
    lines += ["", *(f"{number}. {text}" for text, number in sources.items())]
    return "\n".join(lines).rstrip() + "\n"


def _about(table: Table) -> list[str]:
    seeds = sorted({cell.seeds for cell in table.cells.values() if cell.seeds})
    many = "s" if seeds != [1] else ""
    counted = f"; {' or '.join(map(str, seeds))} seed{many} a figure" if seeds else ""
    when = f"Measured {table.date}{counted}." if table.date else "Nothing was measured here."
    return [_plain(table.paper), "", f"Scale: {_plain(table.scale)}. {when}"]


def _legend(table: Table) -> list[str]:
    """What the marks mean that are there."""
    cells = table.cells.values()
    spread = any(cell.std is not None for cell in cells)
    limits = any(cell.low is not None for cell in cells)
    marks = {
        "**measured here**": any(cell.seeds for cell in cells),
        "± standard deviation over seeds": spread,
        "[95 % interval over architectures]": limits,
        "*published* (source)": any(cell.paper is not None for cell in cells),
    }
    return [", ".join(mark for mark, used in marks.items() if used)]


def _cell(cell: Cell, places: int, sources: dict[str, int]) -> str:
    parts = []
    if cell.seeds:
        parts.append(measured(cell, places, mark="**"))
    if cell.paper is not None:
        unit = f" {_plain(cell.unit)}" if cell.unit else ""
        parts.append(f"*{_published(cell, places)}{unit}* ({_source(cell, sources)})")
    elif cell.note:
        parts.append(f"({_source(cell, sources)})")
    return "; ".join(parts)


def _published(cell: Cell, places: int) -> str:
    """In its own digits where they are known."""
    if cell.paper_text or cell.paper is None:
        return _plain(cell.paper_text)
    spread = "" if cell.paper_std is None else f" ± {figure(cell.paper_std, places)}"
    return f"{figure(cell.paper, places)}{spread}"


def _source(cell: Cell, sources: dict[str, int]) -> int:
    text = _plain(". ".join(part for part in (cell.source, cell.note) if part))
    return sources.setdefault(text, len(sources) + 1)


def measured(cell: Cell, places: int, *, mark: str = "") -> str:
    """Our half of a cell; an em dash where the figure is not defined.

    Args:
        cell: With one seed at least.
        places: Decimals.
        mark: Put around the mean.
    """
    if cell.value is None:
        return "—"
    text = f"{mark}{figure(cell.value, places)}{mark}"
    if cell.std is not None:
        text += f" ± {figure(cell.std, places)}"
    if cell.low is not None and cell.high is not None:
        text += f" [{figure(cell.low, places)}, {figure(cell.high, places)}]"
    return text


def decimals(table: Table, column: str) -> int:
    """How many a column needs: three for shares and correlations, none for counts."""
    figures = [
        abs(value)
        for row in table.rows
        if (cell := table.cells.get((row, column)))
        for value in (cell.value, cell.paper)
        if value is not None
    ]
    largest = max(figures, default=0.0)
    return 3 if largest < 2 else 2 if largest < 200 else 0


def figure(value: float, places: int) -> str:
    """A number with a real minus sign and grouped thousands."""
    return f"{value:,.{places}f}".replace("-", "−")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    escaped = "".join(f"\\{letter}" if letter in _SPECIAL else letter for letter in text)
    return " ".join(escaped.split())
