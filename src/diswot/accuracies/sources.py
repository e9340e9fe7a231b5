"""Sources of NAS-Bench-201's accuracies: their interface, and two packages that hold them."""

import importlib
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from importlib.metadata import Distribution, PackageNotFoundError, distribution, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from diswot.data.cifar import DAMAGED_PICKLE, load_pickle
from diswot.errors import UserError
from diswot.spaces.nasbench201 import CELL, EDGES, NasBench201Arch

CELLS = 5**6
_OPERATIONS = ("skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3")
REPORTED = ("cifar10", "cifar100", "imagenet16-120")
_DAMAGE = (*DAMAGED_PICKLE, AssertionError, OSError)


class AccuracySource(ABC):
    """Accuracies of NAS-Bench-201's cells, read on first use from ``path`` (None: its own place).

    ``datasets`` are all it has figures of, ``reported`` those that a benchmark reports unless
    others are chosen, ``source`` names what is read, for people.

    Raises:
        UserError: There is nothing to read from, or later: it is damaged or lacks a figure.
    """

    datasets: ClassVar[tuple[str, ...]]
    reported: ClassVar[tuple[str, ...]] = REPORTED
    source: str

    @abstractmethod
    def __init__(self, path: Path | None) -> None: ...

    @cached_property
    def figures(self) -> dict[str, dict[str, float]]:
        """Top-1 in percent by data set, then cell; not needed by a source that reads in parts."""
        raise NotImplementedError

    def archs(self) -> Sequence[str]:
        """All cells, in a fixed order."""
        return list(next(iter(self.figures.values())))

    def accuracy(self, cell: str, dataset: str) -> float:
        """Top-1 in percent of one of `archs` on one of ``datasets``."""
        return self.figures[dataset][cell]


def is_cell(text: object) -> bool:
    """Whether ``text`` is a cell in NAS-Bench-201's notation."""
    match = CELL.fullmatch(text) if isinstance(text, str) else None
    return match is not None and set(match.groups()) <= set(_OPERATIONS)


def is_live(cell: str) -> bool:
    """Whether every operation but ``none`` lies on a path from the cell's input to its output."""
    operations = zip(EDGES, re.findall(r"(\w+)~", cell), strict=True)
    edges = [edge for edge, operation in operations if operation != "none"]
    reached, leads = {0}, {3}
    for source, node in edges:  # in the order of their nodes
        reached |= {node} if source in reached else set()
    for source, node in reversed(edges):
        leads |= {source} if node in leads else set()
    return all(source in reached and node in leads for source, node in edges)


def is_unique(cell: str) -> bool:
    """Whether a cell is live and, of live cells with the same graph, the one that is kept.

    Graphs are equal where exchanging the nodes 1 and 2, between which is ``none``, makes one of the
    other: then networks with the same weights compute the same.
    """
    first_1, first_2, between, _, last_1, last_2 = re.findall(r"(\w+)~", cell)
    kept = between != "none" or (first_1, last_1) <= (first_2, last_2)
    return kept and is_live(cell)


class NatsSource(AccuracySource):
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
        self.source = f"{path}, read by nats_bench {version('nats_bench')}"
        self._read: dict[str, dict[str, float]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """All but the open benchmark, which a copy opens again."""
        return {key: value for key, value in self.__dict__.items() if key != "_api"}

    def archs(self) -> Sequence[str]:
        """See `AccuracySource`; the benchmark's own order."""
        return list(self._api.meta_archs)

    def accuracy(self, cell: str, dataset: str) -> float:
        """See `AccuracySource`; test accuracy after 200 epochs, mean over the benchmark's seeds."""
        if cell not in self._read:
            self._read[cell] = self._of_cell(cell)
        value = self._read[cell].get(dataset, math.nan)
        if not 0 <= value <= 100:
            raise UserError(
                f"benchmark.path: {self.path} has no test accuracy after 200 epochs "
                f"on {dataset} of {cell}"
            )
        return value

    def _of_cell(self, cell: str) -> dict[str, float]:
        """Accuracy by data set; the cell's learning curves are not kept."""
        figures = {}
        for dataset in REPORTED:
            theirs = dataset.replace("imagenet", "ImageNet")
            try:
                with suppress(KeyError):
                    info = self._api.get_more_info(cell, theirs, hp="200", is_random=False)
                    figures[dataset] = float(info["test-accuracy"])
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


class AnalogSource(AccuracySource):
    """An independent digital training of every cell on CIFAR-10 (``baseline_accuracy``).

    The package analog-nasbench is not imported; no code of its one file, a pickle, is run.
    """

    datasets = reported = ("cifar10",)

    def __init__(self, path: Path | None) -> None:
        if path is not None:
            raise UserError(
                f"benchmark.path={path}: benchmark.source=analog reads its own package; give null"
            )
        package = self.package()
        if package is None:
            raise UserError(
                "benchmark.source=analog: the package analog-nasbench is missing; "
                "pip install 'diswot[analog]'"
            )
        self.source = f"analog-nasbench {package.version}"
        self._file = Path(str(package.locate_file("analognasbench/data.anb")))

    @staticmethod
    def package() -> Distribution | None:
        """The package, if it is installed."""
        try:
            return distribution("analog-nasbench")
        except PackageNotFoundError:
            return None

    @cached_property
    def figures(self) -> dict[str, dict[str, float]]:
        """See `AccuracySource`; test accuracy of one training."""
        names = ("Architecture", "DriftMeasurement")
        plain = {("analognasbench.data", name): _Plain for name in names}
        try:
            with self._file.open("rb") as file:
                content = load_pickle(file, plain)
            figures = {_cell(key): float(content[key].baseline_accuracy) for key in sorted(content)}
            if len(figures) != CELLS:
                raise ValueError(f"it holds {len(figures):,} cells, not {CELLS:,}")
            if not all(0 <= value <= 100 for value in figures.values()):
                raise ValueError("an accuracy is no number from 0 to 100")
        except _DAMAGE as error:
            raise UserError(
                f"benchmark.source=analog: {self._file} cannot be used ({error}); "
                f"reinstall analog-nasbench"
            ) from error
        return {"cifar10": figures}


class _Plain:
    """Stands in for the classes ``Architecture`` and ``DriftMeasurement`` of the package."""

    baseline_accuracy: float


def _cell(key: Sequence[int]) -> str:
    """The text of a key, whose edges are 1←0, 2←0, 3←0, 2←1, 3←1, 3←2."""
    if any(place < 0 for place in key):
        raise ValueError(f"{key} is no cell")
    a, b, d, c, e, f = (_OPERATIONS[place] for place in key)
    return str(NasBench201Arch((a, b, c, d, e, f)))
