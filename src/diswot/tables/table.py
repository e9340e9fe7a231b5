"""The tables of publications: figures measured here beside the published ones."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diswot.errors import UserError
from diswot.tables.spec import Spec

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = [
    "PAPER",
    "RESULTS",
    "Cell",
    "Table",
    "decimals",
    "figure",
    "is_table",
    "load_table",
    "measured",
    "to_markdown",
]

PAPER = ("row", "column", "value", "std", "unit", "source", "note")
RESULTS = ("row", "column", "value", "std", "low", "high", "seeds", "scale", "date", "runs")

_NUMBERS = ("value", "std", "low", "high", "seeds", "runs")
_SPECIAL = re.compile(r"([\\`*<|\[\]])")


@dataclass(frozen=True)
class Cell:
    """One figure of a table, ours beside the published one; None where there is none.

    Attributes:
        value: Measured, the mean over seeds.
        std: Its standard deviation over seeds (ddof 1).
        low: Lower limit of its 95 % interval over architectures.
        high: Upper limit.
        seeds: How many it is the mean of, 0 where nothing was measured.
        paper: Published.
        source: Where the published one was read; empty without one.
        note: On the published one, or why there is none.
        unit: Of the published one.
        paper_text: The published one with its spread, in the digits it was published with.
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

    Attributes:
        name: Of its folder.
        title: One line.
        paper: The publication that is compared with, and what of it could not be sourced.
        scale: Conditions of the measured figures.
        date: Of the newest result, as 2024-01-31; empty where nothing was measured.
        rows: Labels in order, measured ones first.
        columns: Likewise.
        cells: By row and column; a pair may be missing.
    """

    name: str
    title: str
    paper: str
    scale: str
    date: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: Mapping[tuple[str, str], Cell]


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
    import pandas as pd

    spec = Spec.load(path)
    ours, published = (
        _read(path / name, columns)
        for name, columns in (("results.csv", RESULTS), ("paper.csv", PAPER))
    )
    if ours.empty and published.empty:
        raise UserError(f"{path} holds neither figures in paper.csv nor results in results.csv")
    unsourced = published[published["value"].notna() & (published["source"] == "")]
    for row, column in unsourced.index:
        raise UserError(
            f"{path / 'paper.csv'}: row {row}, column {column} has a value but no source; say "
            "where it was read, or leave it empty"
        )
    both = ours.join(published.drop(columns="std").rename(columns={"value": "paper"}), how="outer")
    keys = [*ours.index, *(key for key in published.index if key not in ours.index)]
    scales, dates = ours["scale"].unique(), ours["date"]
    return Table(
        name=path.resolve().name,
        title=spec.title,
        paper=spec.paper,
        scale="; ".join(scales) or spec.scale,
        date=max(dates, default=""),
        rows=tuple(dict.fromkeys(row for row, _ in keys)),
        columns=tuple(dict.fromkeys(column for _, column in keys)),
        cells={
            key: _cell({k: None if pd.isna(v) else v for k, v in line.items()})
            for key, line in both.to_dict("index").items()
        },
    )


def _cell(line: Mapping[str, Any]) -> Cell:
    digits = [_grouped(line[name]) for name in ("value_text", "std_text") if line.get(name)]
    return Cell(
        value=line["value"],
        std=line["std"],
        low=line["low"],
        high=line["high"],
        seeds=int(line["seeds"] or 0),
        paper=line["paper"],
        source=line["source"] or "",
        note=line["note"] or "",
        unit=line["unit"] or "",
        paper_text=" ± ".join(digits),
    )


def _grouped(text: str) -> str:
    """With a real minus sign and grouped thousands."""
    return re.sub("[0-9]+", lambda whole: f"{int(whole[0]):,}", text, count=1).replace("-", "−")


def _read(file: Path, columns: Sequence[str]) -> DataFrame:
    """A CSV file by row and column, checked; empty where there is no such file.

    Numbers are numbers; of ``value`` and ``std`` of paper.csv the texts are kept beside them.
    """
    import pandas as pd

    table = pd.DataFrame(columns=[*columns], dtype=object)
    if file.is_file():
        try:
            table = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8-sig")
        except ValueError as error:  # of the parser and of the encoding
            raise UserError(f"{file} cannot be read ({' '.join(str(error).split())})") from error
    if tuple(table.columns) != tuple(columns):
        raise UserError(f"{file}: its columns must be {','.join(columns)}")
    table = table.apply(lambda column: column.str.strip()) if len(table) else table
    for name in _NUMBERS:
        if name in columns:
            if "source" in columns:
                table[f"{name}_text"] = table[name]
            table[name] = _numbers(table, name, file)
    for problem, wrong in _problems(table).items():
        if wrong.any():
            raise UserError(f"{file}, line {int(wrong.to_numpy().argmax()) + 2}: {problem}")
    return table.set_index(["row", "column"])


def _numbers(table: DataFrame, name: str, file: Path) -> Any:
    """Finite numbers, NaN for empty fields."""
    import pandas as pd

    numbers = pd.to_numeric(table[name], errors="coerce").astype(float)
    wrong = (table[name] != "") & ~numbers.abs().lt(float("inf"))
    if wrong.any():
        line = int(wrong.to_numpy().argmax())
        raise UserError(
            f"{file}, line {line + 2}: {name} is {str(table[name].iloc[line])[:40]!r}, not a number"
        )
    return numbers


def _problems(table: DataFrame) -> dict[str, Any]:
    """Sentences on what a line may not be, and which lines are."""
    import pandas as pd

    found = {
        "row and column need a label": (table["row"] == "") | (table["column"] == ""),
        "repeats row and column of a line before": table.duplicated(["row", "column"]),
        "std is below 0": table["std"] < 0,
    }
    if "seeds" in table:
        counts = table[["seeds", "runs"]]
        found["seeds and runs must be whole numbers of at least 1"] = (
            ~(counts >= 1) | (counts % 1 != 0)
        ).any(axis=1)
        found["low is above high"] = table["low"] > table["high"]
        days = pd.to_datetime(table["date"], format="%Y-%m-%d", errors="coerce")
        found["date is none such as 2024-01-31"] = days.isna()
    return found


def to_markdown(table: Table) -> str:
    """Measured figures in bold, the published ones after them with the number of their source.

    Args:
        table: Of any size; its texts are escaped.
    """
    import pandas as pd

    sources: dict[str, int] = {}
    digits = {column: decimals(table, column) for column in table.columns}
    texts = {
        (row, column): _shown(table.cells.get((row, column), Cell()), digits[column], sources)
        for row in table.rows
        for column in table.columns
    }
    grid = pd.Series(texts).unstack(sort=False)
    grid.index, grid.columns = (axis.map(_plain) for axis in (grid.index, grid.columns))
    seeds = sorted({cell.seeds for cell in table.cells.values() if cell.seeds})
    counted = " or ".join(map(str, seeds)) + f" seed{'s' if seeds != [1] else ''} a figure"
    when = f"Measured {table.date}; {counted}." if table.date else "Nothing was measured here."
    parts = [
        f"# {_plain(table.title)}",
        _plain(table.paper),
        f"Scale: {_plain(table.scale)}. {when}",
        grid.to_markdown(disable_numparse=True),
        _legend(table),
        "\n".join(f"{number}. {text}" for text, number in sources.items()),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _legend(table: Table) -> str:
    """The meaning of the marks that are there."""
    cells = table.cells.values()
    marks = {
        "**measured here**": any(cell.seeds for cell in cells),
        "± standard deviation over seeds": any(cell.std is not None for cell in cells),
        "[95 % interval over architectures]": any(cell.low is not None for cell in cells),
        "*published* (source)": any(cell.paper is not None for cell in cells),
    }
    return ", ".join(mark for mark, used in marks.items() if used)


def _shown(cell: Cell, places: int, sources: dict[str, int]) -> str:
    parts = [measured(cell, places, mark="**")] if cell.seeds else []
    if cell.paper is not None or cell.note:
        number = sources.setdefault(_plain(cell.reference), len(sources) + 1)
        figure = _plain(f"{cell.paper_text} {cell.unit}".strip())
        parts.append(f"*{figure}* ({number})" if cell.paper is not None else f"({number})")
    return "; ".join(parts)


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
    cells = (table.cells.get((row, column)) for row in table.rows)
    values = [value for cell in cells if cell for value in (cell.value, cell.paper)]
    largest = max((abs(value) for value in values if value is not None), default=0.0)
    return 3 if largest < 2 else 2 if largest < 200 else 0


def figure(value: float, places: int) -> str:
    """A number with a real minus sign and grouped thousands."""
    return f"{value:,.{places}f}".replace("-", "−")


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return " ".join(_SPECIAL.sub(r"\\\1", text).split())
