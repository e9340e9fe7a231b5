"""What a found architecture really scores, beside the best there is."""

from __future__ import annotations

from collections.abc import Callable

from diswot.accuracies.base import Benchmark
from diswot.runs import Standing

__all__ = ["standings"]


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
