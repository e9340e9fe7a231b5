"""Accuracies from a file: a row an architecture, a column for each way it was trained."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diswot.accuracies import Benchmark
from diswot.errors import UserError

if TYPE_CHECKING:
    from pandas import DataFrame

_BESIDE = ("params", "macs", "flops")
"""Columns that are no accuracies."""

_LOWEST = {"gain": -100}
"""Of targets that are differences of accuracies."""


class FileTable(Benchmark):
    """A table that a file holds: a column ``arch``, others of top-1 in percent.

    A member sets `source`, and ``_path`` or ``_asset`` for messages, and gives `_use` the table.
    """

    _path: Path | None = None
    _asset: str | None = None
    _rows = ("line", 2)
    """What a row is called, and the number of the first."""

    def archs(self) -> Sequence[str]:
        """See `Benchmark`; those of which every reported target is known."""
        return [str(arch) for arch in self._figures.index]

    def lookup(self, arch: str, dataset: str, target: str) -> float:
        """See `Benchmark`."""
        return float(self._figures.at[arch, self._columns[dataset, target]])

    def _use(self, table: DataFrame, columns: Mapping[tuple[str, str], str]) -> None:
        """Know the accuracies of these columns, by data set and target."""
        self.known, self._columns = list(columns), dict(columns)
        self._figures = self._checked(table, columns)

    def _checked(self, table: DataFrame, columns: Mapping[tuple[str, str], str]) -> DataFrame:
        import pandas as pd

        if (twice := table["arch"].duplicated()).any():
            raise self._wrong(f"{self._place(twice)} has an arch of a {self._rows[0]} above")
        checked = pd.DataFrame(index=table["arch"].astype(str))
        for (_, target), column in columns.items():
            if column not in table:
                raise self._wrong(
                    f"it has no column {column}; it has {', '.join(map(str, table.columns))}"
                )
            try:
                numbers = pd.to_numeric(table[column], errors="coerce")
            except OverflowError as error:
                raise self._wrong(f"a number of {column} is too large") from error
            low = _LOWEST.get(target, 0)
            wrong = table[column].notna() & ~numbers.between(low, 100)
            if wrong.any():
                value = table[column][wrong.idxmax()]
                where = f"{self._place(wrong)} has {value!r} as {column}"
                raise self._wrong(f"{where}, no number from {low} to 100")
            checked[column] = numbers.to_numpy()
        return checked.dropna()

    def _place(self, rows: Any) -> str:
        """The first row that is marked."""
        return f"{self._rows[0]} {rows.idxmax() + self._rows[1]}"

    def _wrong(self, problem: str) -> UserError:
        return UserError(f"benchmark.path: {self._path or self._asset} cannot be used: {problem}")


class ArchTable(FileTable):
    """A CSV file with a column ``arch`` and columns of top-1 accuracies in percent.

    A target ``gain``, the difference of two, may be negative. An empty cell is an accuracy that is
    not known; only architectures of which every reported
    target is known are ranked.

    Args:
        path: The file, gzipped or not.
        asset: Instead of it, a file of the package.
        dataset: Name of the data set that was trained on.
        columns: The column of each target, such as ``{distilled: kd_top1}``; None for every
            column but ``arch``, ``params``, ``macs`` and ``flops``, as a target of its name.
        targets: Those to report; None for the first.
        about: What the figures are, for people.
        holds_for: See `Benchmark`.
        name, space, sample, datasets: See `Benchmark`.

    Raises:
        UserError: The file is missing, lacks a column, or a cell is no accuracy.
    """

    def __init__(
        self,
        *,
        dataset: str,
        path: str | Path | None = None,
        asset: str | None = None,
        columns: Mapping[str, str] | None = None,
        targets: Sequence[str] | None = None,
        about: str = "",
        holds_for: Mapping[str, object] | None = None,
        **settings: Any,
    ) -> None:
        self._path = None if path is None else Path(path).expanduser()
        self._asset = asset
        if self._path is None and asset is None:
            raise UserError(
                "benchmark.path: not given; give a .csv file with a column arch and one of "
                "accuracies for each target"
            )
        self.source = about or str(self._path)
        self.holds_for = dict(holds_for or {})
        table = self._read()
        given = columns or {name: name for name in table if name not in ("arch", *_BESIDE)}
        if not given:
            has = ", ".join(map(str, table.columns))
            raise self._wrong(f"it has no column of accuracies; it has {has}")
        chosen = list(given)[:1] if targets is None else list(targets)
        if not chosen or not set(chosen) <= set(given):
            allowed = f"allowed are {', '.join(given)}, as {self.source} has"
            raise UserError(f"benchmark.targets={chosen}: {allowed}")
        self._use(table, {(dataset, target): given[target] for target in chosen})
        super().__init__(**settings)

    def _read(self) -> DataFrame:
        import pandas as pd

        from diswot.data import read_asset

        try:
            table = pd.read_csv(self._path or io.BytesIO(read_asset(str(self._asset))))
        except OSError as error:
            raise self._wrong(str(error.strerror or error)) from error
        except ValueError as error:  # ParserError, EmptyDataError and UnicodeDecodeError are some
            raise self._wrong(" ".join(str(error).split())) from error
        if not isinstance(table.index, pd.RangeIndex):
            raise self._wrong("a line has more cells than there are columns")
        if "arch" not in table:
            raise self._wrong(f"it has no column arch; it has {', '.join(map(str, table.columns))}")
        return table
