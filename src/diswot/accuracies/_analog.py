"""NAS-Bench-201's accuracies on CIFAR-10 from the PyPI package analog-nasbench."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from diswot.accuracies._table import CELLS, Table
from diswot.data._pickles import DAMAGE, load_pickle
from diswot.errors import UserError

__all__ = ["AnalogTable", "installed"]

_PACKAGE = "analog-nasbench"
_OPERATIONS = ("skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3")


class _Architecture:
    """Stands in for the package's class of this name."""

    baseline_accuracy: float


class _DriftMeasurement:
    """Stands in for the package's class of this name."""


_ALLOWED = {
    ("analognasbench.data", "Architecture"): _Architecture,
    ("analognasbench.data", "DriftMeasurement"): _DriftMeasurement,
}


def installed() -> bool:
    """Whether the package is there."""
    return _package() is not None


class AnalogTable(Table):
    """An independent digital training of every cell on CIFAR-10 (``baseline_accuracy``).

    The package is not imported; its one data file is a pickle, read without running code of it.
    """

    datasets = reported = ("cifar10",)

    def __init__(self, path: Path | None) -> None:
        if path is not None:
            raise UserError(
                f"benchmark.path={path}: benchmark.source=analog reads its own package; give null"
            )
        package = _package()
        if package is None:
            raise UserError(
                f"benchmark.source=analog: the package {_PACKAGE} is missing; "
                f"pip install 'diswot[analog]'"
            )
        self._version = package.version
        self._file = Path(str(package.locate_file("analognasbench/data.anb")))

    @property
    def source(self) -> str:
        """The package and its version."""
        return f"{_PACKAGE} {self._version}"

    def archs(self) -> Sequence[str]:
        """See `Table`."""
        return list(self._figures)

    def accuracy(self, cell: str, dataset: str) -> float:
        """See `Table`; test accuracy of one training."""
        return self._figures[cell]

    @cached_property
    def _figures(self) -> dict[str, float]:
        try:
            with self._file.open("rb") as file:
                return _figures(load_pickle(file, _ALLOWED))
        except (OSError, *DAMAGE) as error:
            raise UserError(
                f"benchmark.source=analog: {self._file} cannot be used ({error}); "
                f"reinstall {_PACKAGE}"
            ) from error


def _figures(content: Any) -> dict[str, float]:
    """Accuracy by cell, from architectures by their six operations."""
    figures = {_cell(key): float(content[key].baseline_accuracy) for key in sorted(content)}
    if len(figures) != CELLS:
        raise ValueError(f"it holds {len(figures):,} cells, not {CELLS:,}")
    if not all(0 <= value <= 100 for value in figures.values()):
        raise ValueError("an accuracy is no number from 0 to 100")
    return figures


def _cell(key: Sequence[int]) -> str:
    """The text of a key, whose edges are 1←0, 2←0, 3←0, 2←1, 3←1, 3←2."""
    if any(place < 0 for place in key):
        raise ValueError(f"{key} is no cell")
    a, b, d, c, e, f = (_OPERATIONS[place] for place in key)
    return f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"


def _package() -> Distribution | None:
    try:
        return distribution(_PACKAGE)
    except PackageNotFoundError:
        return None
