"""NAS-Bench-201's accuracies from NATS-Bench's own files, through its own package."""

from __future__ import annotations

import importlib
import math
import pickle
from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from diswot.accuracies._table import REPORTED, Table, is_cell
from diswot.errors import UserError

__all__ = ["NatsTable"]

_THEIRS = dict(zip(REPORTED, ("cifar10", "cifar100", "ImageNet16-120"), strict=True))
_DAMAGE = (
    pickle.UnpicklingError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    OSError,
    TypeError,
    ValueError,
)


class NatsTable(Table):
    """NATS-Bench's topology benchmark (Dong et al., TPAMI 2021, arXiv:2009.00437).

    The files are pickles that the package ``nats_bench`` loads without restriction: give only
    files whose origin is trusted. A folder is read one cell at a time, a single file at once.
    """

    datasets = REPORTED

    def __init__(self, path: Path | None) -> None:
        if path is None or not path.exists():
            problem = "not given" if path is None else f"{path} does not exist"
            raise UserError(
                f"benchmark.path: {problem}; give the unpacked folder NATS-tss-v1_0-3ffb9-simple "
                f"or the file NATS-tss-v1_0-3ffb9.pickle.pbz2 of github.com/D-X-Y/NATS-Bench"
            )
        if find_spec("nats_bench") is None:
            raise UserError(
                "benchmark.source=nats_bench: its package is missing; pip install 'diswot[nats]'"
            )
        self.path = path
        self._read: dict[str, dict[str, float]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """All but the open benchmark, which a copy opens again."""
        return {key: value for key, value in self.__dict__.items() if key != "_api"}

    @property
    def source(self) -> str:
        """The path and the package."""
        return f"{self.path}, read by nats_bench {version('nats_bench')}"

    def archs(self) -> Sequence[str]:
        """See `Table`; the benchmark's own order."""
        return list(self._api.meta_archs)

    def accuracy(self, cell: str, dataset: str) -> float:
        """See `Table`; test accuracy after 200 epochs, mean over the benchmark's seeds."""
        if cell not in self._read:
            self._read[cell] = self._figures(cell)
        value = self._read[cell].get(dataset, math.nan)
        if not 0 <= value <= 100:
            raise UserError(
                f"benchmark.path: {self.path} has no test accuracy after 200 epochs "
                f"on {dataset} of {cell}"
            )
        return value

    def _figures(self, cell: str) -> dict[str, float]:
        """Accuracy by data set; the cell's learning curves are not kept."""
        figures = {}
        for dataset, theirs in _THEIRS.items():
            try:
                info = self._api.get_more_info(cell, theirs, hp="200", is_random=False)
                figures[dataset] = float(info["test-accuracy"])
            except KeyError:
                continue
            except _DAMAGE as error:
                raise self._damaged(f"{cell}: {error!r}") from error
        if self.path.is_dir():
            self._api.arch2infos_dict.pop(self._api.archstr2index[cell], None)
        return figures

    @cached_property
    def _api(self) -> Any:
        try:
            nats_bench = importlib.import_module("nats_bench")
            fast = self.path.is_dir()
            api = nats_bench.create(str(self.path), "tss", fast_mode=fast, verbose=False)
            if not api.meta_archs or not all(map(is_cell, api.meta_archs)):
                raise ValueError("it is not the topology benchmark")
        except _DAMAGE as error:
            raise self._damaged(repr(error)) from error
        return api

    def _damaged(self, problem: str) -> UserError:
        return UserError(
            f"benchmark.path: {self.path} cannot be read ({' '.join(problem.split())}); "
            f"fetch NATS-tss again"
        )
