"""Benchmarks: known accuracies of the architectures of a space, and what stands where in them."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from diswot.checks import whole
from diswot.errors import UserError
from diswot.runs import Standing


class NoAccuraciesError(UserError):
    """A benchmark is known, but not for these networks, or none of its sources is at hand."""


def shared_file(name: str) -> Path | None:
    """The file ``$DISWOT_DATA/benchmarks/NAME``, if it is there."""
    root = os.environ.get("DISWOT_DATA")
    path = Path(root or "", "benchmarks", name)
    return path if root and path.is_file() else None


class Benchmark(ABC):
    """A table of the accuracies that training gave the architectures of a space.

    Accuracies are top-1 in percent. A target says how an architecture was trained: ``vanilla``
    alone, ``distilled`` by a teacher. Nothing is read before it is asked for.

    A member sets in its class, or before it calls this constructor: ``source``, what the figures
    are read from, for people; ``known``, every (data set, target) that can be asked for; and
    ``reported``, the data sets to report where none are chosen (default: all).

    Args:
        name, space: Names in the config, of itself and of the space whose architectures it knows.
        sample: How many architectures `select` draws; None for all.
        datasets: Data sets to report, in this order; None for `reported`.

    Raises:
        UserError: A sample below two, or a data set it does not know.
    """

    source: str
    known: Sequence[tuple[str, str]]
    reported: Sequence[str] | None = None
    holds_for: Mapping[str, object] = {}
    """Settings of the space with which its networks are those that were trained."""

    def __init__(
        self,
        *,
        name: str,
        space: str,
        sample: int | None = None,
        datasets: Sequence[str] | None = None,
    ) -> None:
        self.name = name
        self.space = space
        self.sample = None if sample is None else whole("benchmark.sample", sample, 2)
        self.datasets = self._chosen(datasets)

    @abstractmethod
    def archs(self) -> Sequence[str]:
        """Canonical texts of all architectures, in a fixed order."""

    @abstractmethod
    def lookup(self, arch: str, dataset: str, target: str) -> float:
        """The accuracy of one of `archs` for one of `known`."""

    def entries(self) -> Sequence[tuple[str, str]]:
        """The (data set, target) pairs to report, in order."""
        return [(d, target) for d in self.datasets for known, target in self.known if known == d]

    def accuracy(self, arch: object, dataset: str, target: str = "vanilla") -> float:
        """Top-1 accuracy in percent of an architecture or its canonical text.

        Raises:
            UserError: The architecture, the data set or the target is unknown.
        """
        self._check(dataset, target)
        text = str(arch)
        if text not in self._members:
            archs = self.archs()
            raise UserError(
                f"benchmark={self.name}: arch {text!r} is not among its {len(archs):,} "
                f"architectures of space {self.space}, such as {archs[0]}"
            )
        return self.lookup(text, dataset, target)

    def select(self, seed: int) -> list[str]:
        """The architectures to rank: ``sample`` random ones, or all, in the order of `archs`.

        Which are drawn depends on the seed and the set of texts, not on their order: tables of one
        space from different sources give the same sample.

        Raises:
            UserError: There are fewer than ``sample``.
        """
        archs = list(self.archs())
        if self.sample is None:
            return archs
        if self.sample > len(archs):
            raise UserError(
                f"benchmark.sample={self.sample}: benchmark {self.name} has {len(archs)} "
                "architectures; give at most that, or null for all"
            )
        import torch

        from diswot.keys import generator

        order = torch.randperm(len(archs), generator=generator("benchmark", seed)).tolist()
        ranked = sorted(archs)
        drawn = {ranked[place] for place in order[: self.sample]}
        return [arch for arch in archs if arch in drawn]

    @cached_property
    def _members(self) -> frozenset[str]:
        return frozenset(self.archs())

    def _chosen(self, datasets: Sequence[str] | None) -> tuple[str, ...]:
        allowed = tuple(dict.fromkeys(dataset for dataset, _ in self.known))
        if datasets is None:
            return tuple(self.reported or allowed)
        if not isinstance(datasets, Sequence):
            raise UserError(f"benchmark.datasets={datasets} is not allowed; give a list of names")
        chosen = tuple(dict.fromkeys([datasets] if isinstance(datasets, str) else datasets))
        if not chosen or not set(chosen) <= set(allowed):
            raise UserError(
                f"benchmark.datasets={list(chosen)} is not allowed; benchmark {self.name}, read "
                f"from {self.source}, knows {', '.join(allowed)}; give some of these, or null"
            )
        return chosen

    def _check(self, dataset: str, target: str) -> None:
        if (dataset, target) not in self.known:
            known = ", ".join(f"{target} on {dataset}" for dataset, target in self.known)
            raise UserError(
                f"benchmark={self.name}: no {target} accuracy on {dataset} in {self.source}; "
                f"it has {known}"
            )


def benchmark_of(config: Mapping[str, Any]) -> Benchmark:
    """The benchmark of a resolved config.

    Raises:
        UserError: Its settings are wrong, or it knows another space than the config's.
    """
    from diswot.config import make

    benchmark = make(config["benchmark"], "benchmark", Benchmark)
    space = config["space"]["name"]
    if benchmark.space != space:
        raise UserError(
            f"benchmark={benchmark.name} knows architectures of space {benchmark.space}, not of "
            f"{space}; give space={benchmark.space} or another benchmark"
        )
    for key, value in benchmark.holds_for.items():
        if config["space"].get(key, value) != value:
            raise NoAccuraciesError(
                f"benchmark={benchmark.name} holds for space.{key}={value}: with "
                f"{config['space'][key]} these are other networks, of unknown accuracy"
            )
    return benchmark


def standings(benchmark: Benchmark, arch: str, keeps: Callable[[str], bool]) -> list[Standing]:
    """How an architecture stands in every data set and target the benchmark reports.

    ``keeps`` says whether one keeps the budget; it is asked from the most accurate down.

    Raises:
        UserError: The benchmark does not know the architecture.
    """
    all_standings = []
    for dataset, target in benchmark.entries():
        accuracy = benchmark.accuracy(arch, dataset, target)
        known = {other: benchmark.lookup(other, dataset, target) for other in benchmark.archs()}
        best = next((a for a in sorted(known, key=lambda a: -known[a]) if keeps(a)), None)
        rank = 1 + sum(other > accuracy for other in known.values())
        best_accuracy = None if best is None else known[best]
        standing = Standing(dataset, target, accuracy, rank, len(known), best, best_accuracy)
        all_standings.append(standing)
    return all_standings
