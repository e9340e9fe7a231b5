"""The tables of publications: figures measured here beside the published ones."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diswot.errors import UserError
from diswot.tables.spec import Spec

PAPER = ("row", "column", "value", "std", "unit", "source", "note")
RESULTS = ("row", "column", "value", "std", "low", "high", "seeds", "scale", "date", "runs")

_NUMBERS = ("value", "std", "low", "high", "seeds", "runs")


@dataclass(frozen=True)
class Cell:
    """One figure of a table, ours beside the published one; None where there is none.

    ``value`` is measured, the mean over ``seeds`` (0 where nothing was); ``std`` is its standard
    deviation over them (ddof 1), ``low`` to ``high`` its 95 % interval over architectures.
    ``paper`` is published, in ``unit``; ``paper_text`` has its spread too, in the digits it was
    published with. ``source`` says where it was read, ``note`` more on it, or why there is none.
    """

    value: float | None = None
    std: float | None = None
    low: float | None = None
    high: float | None = None
    seeds: int = 0
    paper: float | None = None
    source: str = ""
    note: str = ""
    unit: str = ""
    paper_text: str = ""

    @property
    def reference(self) -> str:
        """Source and note in one text."""
        return ". ".join(part for part in (self.source, self.note) if part)


@dataclass(frozen=True)
class Table:
    """A table of a publication, measured anew.

    ``name`` is that of its folder, ``paper`` the publication that is compared with, ``scale`` the
    conditions of the measured figures, ``date`` that of the newest result, as 2024-01-31, empty
    where nothing was measured. Labels of ``rows`` and ``columns`` are in order, measured ones
    first; a pair of them may be missing in ``cells``.
    """

    name: str
    title: str
    paper: str
    scale: str
    date: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: Mapping[tuple[str, str], Cell]


def load_table(path: Path) -> Table:
    """Read a table's folder: table.yaml, and paper.csv, results.csv or both.

    If a file is damaged, or there is no figure at all, raises `UserError`.
    """
    spec = Spec.load(path)
    ours, published = _read(path / "results.csv", RESULTS), _read(path / "paper.csv", PAPER)
    if not (ours or published):
        raise UserError(f"{path} holds neither figures in paper.csv nor results in results.csv")
    for (row, column), line in published.items():
        if line["value"] is not None and not line["source"]:
            raise UserError(
                f"{path / 'paper.csv'}: row {row}, column {column} has a value but no source; say "
                "where it was read, or leave it empty"
            )
    keys = [*dict.fromkeys([*ours, *published])]
    return Table(
        name=path.resolve().name,
        title=spec.title,
        paper=spec.paper,
        scale="; ".join(dict.fromkeys(line["scale"] for line in ours.values())) or spec.scale,
        date=max((line["date"] for line in ours.values()), default=""),
        rows=tuple(dict.fromkeys(row for row, _ in keys)),
        columns=tuple(dict.fromkeys(column for _, column in keys)),
        cells={key: _cell(ours.get(key, {}), published.get(key, {})) for key in keys},
    )


def _cell(ours: Mapping[str, Any], published: Mapping[str, Any]) -> Cell:
    parts = [text for name in ("value_text", "std_text") if (text := published.get(name))]
    grouped = [re.sub("[0-9]+", lambda n: f"{int(n[0]):,}", text, count=1) for text in parts]
    fields: dict[str, Any] = {name: ours.get(name) for name in ("value", "std", "low", "high")}
    fields |= {name: published.get(name, "") for name in ("source", "note", "unit")}
    return Cell(
        **fields,
        seeds=int(ours.get("seeds") or 0),
        paper=published.get("value"),
        paper_text=" ± ".join(grouped).replace("-", "−"),
    )


def _read(file: Path, columns: Sequence[str]) -> dict[tuple[str, str], dict[str, Any]]:
    """The lines of a CSV file by row and column, checked; none where there is no such file.

    Numbers are numbers, None in empty fields; their texts are kept as ``value_text`` and so on.
    """
    import pandas as pd

    if not file.is_file():
        return {}
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except ValueError as error:  # of the parser and of the encoding
        raise UserError(f"{file} cannot be read ({' '.join(str(error).split())})") from error
    if tuple(table.columns) != tuple(columns):
        raise UserError(f"{file}: its columns must be {','.join(columns)}")
    problems = {}  # what a line may not be, and which lines are
    for name in columns:
        table[name] = table[name].str.strip()
        if name in _NUMBERS:
            table[f"{name}_text"] = texts = table[name]
            table[name] = pd.to_numeric(texts, errors="coerce").astype(float)
            if (wrong := (texts != "") & ~table[name].abs().lt(float("inf"))).any():
                text = texts[wrong].iloc[0][:40]
                problems[f"{name} is {text!r}, not a number"] = wrong
    problems |= {
        "row and column need a label": (table["row"] == "") | (table["column"] == ""),
        "repeats row and column of a line before": table.duplicated(["row", "column"]),
    }
    for problem, wrong in problems.items():
        if wrong.any():
            raise UserError(f"{file}, line {int(wrong.to_numpy().argmax()) + 2}: {problem}")
    table = table.astype(object).where(table.notna(), None)
    return {(line["row"], line["column"]): line for line in table.to_dict("records")}


def to_markdown(table: Table) -> str:
    """Measured figures in bold, the published ones after them with the number of their source."""
    import pandas as pd

    sources: dict[str, int] = {}
    cells = table.cells.values()
    digits = {column: decimals(table, column) for column in table.columns}
    texts = {
        (row, column): _shown(table.cells.get((row, column), Cell()), digits[column], sources)
        for row in table.rows
        for column in table.columns
    }
    grid = pd.Series(texts).unstack(sort=False)
    grid.index, grid.columns = (axis.map(_plain) for axis in (grid.index, grid.columns))
    seeds = sorted({cell.seeds for cell in cells if cell.seeds})
    counted = " or ".join(map(str, seeds)) + f" seed{'s' if seeds != [1] else ''} a figure"
    when = f"Measured {table.date}; {counted}." if table.date else "Nothing was measured here."
    marks = {
        "**measured here**": any(cell.seeds for cell in cells),
        "± standard deviation over seeds": any(cell.std is not None for cell in cells),
        "[95 % interval over architectures]": any(cell.low is not None for cell in cells),
        "*published* (source)": any(cell.paper is not None for cell in cells),
    }
    parts = [
        f"# {_plain(table.title)}",
        _plain(table.paper),
        f"Scale: {_plain(table.scale)}. {when}",
        grid.to_markdown(disable_numparse=True),
        ", ".join(mark for mark, used in marks.items() if used),
        "\n".join(f"{number}. {text}" for text, number in sources.items()),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _shown(cell: Cell, places: int, sources: dict[str, int]) -> str:
    parts = [measured(cell, places, mark="**")] if cell.seeds else []
    if cell.paper is not None or cell.note:
        number = sources.setdefault(_plain(cell.reference), len(sources) + 1)
        figure = _plain(f"{cell.paper_text} {cell.unit}".strip())
        parts.append(f"*{figure}* ({number})" if cell.paper is not None else f"({number})")
    return "; ".join(parts)


def measured(cell: Cell, places: int, *, mark: str = "") -> str:
    """Our half of a measured cell, ``mark`` around the mean; a dash where it is not defined."""
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
    cells = (table.cells.get((row, column)) for row in table.rows)
    values = [value for cell in cells if cell for value in (cell.value, cell.paper)]
    largest = max((abs(value) for value in values if value is not None), default=0.0)
    return 3 if largest < 2 else 2 if largest < 200 else 0


def figure(value: float, places: int) -> str:
    """A number with a real minus sign and grouped thousands."""
    return f"{value:,.{places}f}".replace("-", "−")


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return " ".join(re.sub(r"([\\`*<|\[\]])", r"\\\1", text).split())
