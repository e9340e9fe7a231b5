"""What a found architecture really scores, beside the best there is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from diswot.accuracies.base import Benchmark

__all__ = ["Standing", "standings"]


@dataclass(frozen=True)
class Standing:
    """One architecture among all of a benchmark, for one data set and target.

    Attributes:
        dataset: What was trained on.
        target: How: ``vanilla`` or ``distilled``.
        accuracy: Top-1 in percent.
        rank: 1 is the most accurate; equals share the best place.
        count: Architectures of the benchmark.
        best_arch: The most accurate that keeps the budget, None where none does.
        best_accuracy: Its accuracy.
    """

    dataset: str
    target: str
    accuracy: float
    rank: int
    count: int
    best_arch: str | None
    best_accuracy: float | None


def standings(benchmark: Benchmark, arch: str, keeps: Callable[[str], bool]) -> list[Standing]:
    """How an architecture stands in every data set and target the benchmark reports.

    Args:
        benchmark: Knows the architecture.
        arch: Canonical text.
        keeps: Whether an architecture keeps the budget; asked from the most accurate down, until
            one does.

    Raises:
        UserError: The benchmark does not know the architecture.
    """
    return [_standing(benchmark, arch, keeps, *entry) for entry in benchmark.entries()]


def _standing(
    benchmark: Benchmark, arch: str, keeps: Callable[[str], bool], dataset: str, target: str
) -> Standing:
    accuracy = benchmark.accuracy(arch, dataset, target)
    known = {other: benchmark.lookup(other, dataset, target) for other in benchmark.archs()}
    best = next((a for a in sorted(known, key=lambda a: -known[a]) if keeps(a)), None)
    return Standing(
        dataset=dataset,
        target=target,
        accuracy=accuracy,
        rank=1 + sum(other > accuracy for other in known.values()),
        count=len(known),
        best_arch=best,
        best_accuracy=None if best is None else known[best],
    )
