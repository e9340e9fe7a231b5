"""Orders of archs, and their ranks in weighted samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Order", "Ranks"]


@dataclass(frozen=True)
class Ranks:
    """Ranks of the archs in C samples.

    Args:
        doubled: (N, C), twice the midrank less its mean: whole numbers, so that sums are exact.
        squares: (C,), their weighted sum of squares.
    """

    doubled: NDArray[np.float64]
    squares: NDArray[np.float64]


@dataclass(frozen=True)
class Order:
    """The order of N archs by one score or accuracy; equal values form a group.

    Args:
        order: (N,), indices of the archs, worst first.
        group: (N,), the group of each arch, 0 for the worst.
        starts: (G,), where each group starts in ``order``.
    """

    order: NDArray[np.intp]
    group: NDArray[np.intp]
    starts: NDArray[np.intp]

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Order:
        """Sort (N,) values; all that are not finite are one group below all others."""
        filled = np.where(np.isfinite(values), values, -np.inf)
        sizes, group = np.unique(filled, return_inverse=True, return_counts=True)[::-1][:2]
        starts = np.cumsum(sizes) - sizes
        return cls(np.argsort(group, kind="stable"), group, starts)

    @property
    def constant(self) -> bool:
        """Whether all archs are equal."""
        return len(self.starts) < 2

    @property
    def sizes(self) -> NDArray[np.intp]:
        """(G,), archs of each group."""
        return np.diff(self.starts, append=len(self.order))

    def weights(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        """(G, C), what each group weighs in samples that drew the archs ``counts`` (N, C) times."""
        ordered = counts[self.order]
        if len(self.starts) == len(self.order):
            return ordered
        return np.asarray(np.add.reduceat(ordered, self.starts, axis=0), dtype=np.float64)

    def ranks(self, counts: NDArray[np.float64]) -> Ranks:
        """Midranks within each sample, without sorting it: cumulative weights of the groups.

        A group of weight c above a weight of b has the midrank b + (c + 1)/2.
        """
        weights = self.weights(counts)
        doubled = np.cumsum(weights, axis=0)
        total = doubled[-1].copy()
        doubled *= 2
        doubled -= weights
        doubled -= total
        weights *= doubled
        return Ranks(doubled[self.group], np.einsum("gc,gc->c", weights, doubled))

    def bins(self, limit: int) -> NDArray[np.intp]:
        """(N,), numbers of bins of at most ``limit`` archs, in order; a group is never divided.

        A bin is larger only if it holds a single group.
        """
        bins = np.zeros(len(self.starts), dtype=np.intp)
        current = filled = 0
        for group, size in enumerate(self.sizes):
            if filled and filled + size > limit:
                current, filled = current + 1, 0
            bins[group] = current
            filled += int(size)
        return np.asarray(bins[self.group], dtype=np.intp)
