"""The accuracies of NAS-Bench-201's 15,625 cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from diswot.accuracies._analog import AnalogTable, installed
from diswot.accuracies._csv import CsvTable, shared_csv
from diswot.accuracies._nats import NatsTable
from diswot.accuracies._table import Table
from diswot.accuracies.base import Benchmark, NoAccuraciesError
from diswot.errors import UserError

__all__ = ["NasBench201"]

_SOURCES: dict[str, type[Table]] = {"csv": CsvTable, "nats_bench": NatsTable, "analog": AnalogTable}


class NasBench201(Benchmark):
    """NAS-Bench-201 (Dong and Yang, ICLR 2020, arXiv:2001.00326).

    ``cifar10``, ``cifar100`` and ``imagenet16-120`` are test accuracy after 200 epochs, mean over
    the benchmark's seeds; ``cifar10-12ep`` and ``cifar10-12ep-val`` (and so on) test and
    validation accuracy after 12. ``analog`` knows one other training on CIFAR-10 only.

    Args:
        name: See `Benchmark`.
        space: See `Benchmark`.
        source: ``csv``, ``nats_bench``, ``analog``, or ``auto`` for the first that is there:
            ``path``, ``$DISWOT_DATA/benchmarks/nasbench201.csv.gz``, the package of ``analog``.
        path: A CSV file, or NATS-Bench's folder or file.
        sample: See `Benchmark`.
        datasets: See `Benchmark`.

    Raises:
        UserError: There is no such source, or a setting outside what is allowed.
    """

    holds_for: ClassVar[Mapping[str, object]] = {"cells": 5, "widths": [16, 32, 64]}

    def __init__(
        self,
        *,
        name: str,
        space: str,
        source: str = "auto",
        path: str | Path | None = None,
        sample: int | None = None,
        datasets: Sequence[str] | None = None,
    ) -> None:
        self.table = _table(source, None if path is None else Path(path).expanduser())
        super().__init__(name=name, space=space, sample=sample, datasets=datasets)

    @property
    def source(self) -> str:
        """See `Benchmark`."""
        return self.table.source

    @property
    def known(self) -> Sequence[tuple[str, str]]:
        """See `Benchmark`."""
        return [(dataset, "vanilla") for dataset in self.table.datasets]

    @property
    def reported(self) -> Sequence[str]:
        """See `Benchmark`; those after 200 epochs."""
        return self.table.reported

    def archs(self) -> Sequence[str]:
        """See `Benchmark`."""
        return self.table.archs()

    def lookup(self, arch: str, dataset: str, target: str) -> float:
        """See `Benchmark`."""
        return self.table.accuracy(arch, dataset)


def _table(source: str, path: Path | None) -> Table:
    if source == "auto":
        source = _automatic(path)
    if source not in _SOURCES:
        raise UserError(
            f"benchmark.source={source} is not allowed; give auto, {', '.join(_SOURCES)}"
        )
    return _SOURCES[source](path)


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
    if shared_csv():
        return "csv"
    if installed():
        return "analog"
    raise NoAccuraciesError(
        "benchmark.source=auto: no accuracies of NAS-Bench-201 are at hand; either pip install "
        "'diswot[analog]' (CIFAR-10 only), or give benchmark.path=FILE.csv.gz with the columns "
        "of docs/data.md (or put it at $DISWOT_DATA/benchmarks/nasbench201.csv.gz), or pip "
        "install 'diswot[nats]' and give benchmark.path=FOLDER of NATS-tss "
        "(github.com/D-X-Y/NATS-Bench)"
    )
