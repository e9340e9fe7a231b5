"""Correlations of two orderings or values, in many weighted samples at once.

``counts`` (N, C) says how often each of C samples drew each of N archs; correlations are (C,),
NaN where a side does not vary in a sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

__all__ = ["Kendall", "Ordering", "Ranks", "partial", "pearson", "precision", "regret", "spearman"]

Floats = NDArray[np.float64]
Integers = NDArray[np.intp]

_BIN = 128  # archs; larger bins cost products, smaller ones a larger grid
_FLAT = 1e-13  # spread relative to the mean under which values are equal but for rounding


@dataclass(frozen=True)
class Ranks:
    """Ranks of the archs in C samples.

    Attributes:
        doubled: (N, C), twice the midrank less its mean: whole numbers, so that sums are exact.
        squares: (C,), their weighted sum of squares.
    """

    doubled: Floats
    squares: Floats


@dataclass(frozen=True)
class Ordering:
    """N archs ordered by one score or accuracy; equal values form a group.

    Attributes:
        order: (N,), indices of the archs, worst first.
        group: (N,), the group of each arch, 0 for the worst.
        starts: (G,), where each group starts in ``order``.
    """

    order: Integers
    group: Integers
    starts: Integers

    @classmethod
    def of(cls, values: Floats) -> Ordering:
        """Sort (N,) values; all that are not finite are one group below all others."""
        filled = np.where(np.isfinite(values), values, -np.inf)
        _, group, sizes = np.unique(filled, return_inverse=True, return_counts=True)
        return cls(np.argsort(group, kind="stable"), group, np.cumsum(sizes) - sizes)

    @property
    def constant(self) -> bool:
        """Whether all archs are equal."""
        return len(self.starts) < 2

    @property
    def sizes(self) -> Integers:
        """(G,), archs of each group."""
        return np.diff(self.starts, append=len(self.order))

    def weights(self, counts: Floats) -> Floats:
        """(G, C), what each group weighs in samples that drew the archs ``counts`` (N, C) times."""
        ordered = counts[self.order]
        if len(self.starts) == len(self.order):
            return ordered
        return np.asarray(np.add.reduceat(ordered, self.starts, axis=0), dtype=np.float64)

    def ranks(self, counts: Floats) -> Ranks:
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

    def bins(self, limit: int) -> Integers:
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


def spearman(x: Ranks, y: Ranks, counts: Floats, weighted: Floats | None = None) -> Floats:
    """Spearman's rank correlation, with midranks.

    Args:
        x: Ranks of one side in the samples.
        y: Of the other.
        counts: (N, C).
        weighted: ``counts * x.doubled``, when it is at hand.
    """
    weighted = counts * x.doubled if weighted is None else weighted
    together = np.einsum("nc,nc->c", weighted, y.doubled)
    return _ratio(together, np.sqrt(x.squares * y.squares))


def pearson(x: Floats, y: Floats, counts: Floats) -> Floats:
    """Pearson's correlation of (N,) values; archs that are not finite in ``x`` are left out."""
    kept = np.isfinite(x)
    if np.count_nonzero(kept) < 2:
        return np.full(counts.shape[1], np.nan)
    counts = counts if kept.all() else counts[kept]
    total = np.maximum(counts.sum(axis=0), 1)
    first, first_norm = _centred(x[kept], counts, total)
    second, second_norm = _centred(y[kept], counts, total)
    first *= counts
    together = np.einsum("nc,nc->c", first, second)
    return np.clip(_ratio(together, first_norm * second_norm), -1, 1)


def _centred(values: Floats, counts: Floats, total: Floats) -> tuple[Floats, Floats]:
    """(N, C) differences from each sample's mean, and their norm, 0 where all are equal."""
    values = values / (np.abs(values).max() or 1.0)  # squares of large scores would overflow
    mean = values @ counts / total
    centred = values[:, None] - mean
    norm = np.sqrt(np.einsum("nc,nc,nc->c", counts, centred, centred))
    return centred, np.where(norm <= _FLAT * np.abs(mean), 0.0, norm)


def partial(xy: float, xz: float, yz: float) -> float:
    """Correlation of x and y with z held fixed; NaN where z determines one of them."""
    left = (1 - xz * xz) * (1 - yz * yz)
    return float((xy - xz * yz) / np.sqrt(left)) if left > 1e-12 else float("nan")


class Kendall:
    """Kendall's tau-b of two orderings, exact for any weights.

    The sum over pairs of sign(Δx)·sign(Δy)·w·w' is split three ways, so that a sample costs
    O(N·√N) products instead of N²: pairs within a bin of x and pairs within a bin of y by
    products with small matrices of signs; all others, whose signs their bins determine, by
    cumulative sums over the grid of both bins.

    Args:
        x: One ordering.
        y: The other, of the same archs.
        limit: Largest bin; default: √N, at least 128.
    """

    def __init__(self, x: Ordering, y: Ordering, limit: int | None = None) -> None:
        count = len(x.order)
        limit = limit or max(_BIN, isqrt(count))
        self._x, self._y = x, y
        x_bins, y_bins = x.bins(limit), y.bins(limit)
        self._shape = (int(x_bins.max()) + 1, int(y_bins.max()) + 1)
        cells = (x_bins * self._shape[1] + y_bins, np.arange(count))
        size = (self._shape[0] * self._shape[1], count)
        self._grid = sparse.csr_array((np.ones(count), cells), shape=size)
        nowhere = np.full(count, -1)
        self._blocks = [*_blocks(x, y, x, x_bins, nowhere), *_blocks(x, y, y, y_bins, x_bins)]

    def __call__(self, counts: Floats) -> Floats:
        """Tau-b in each sample."""
        pairs = _pairs(counts.sum(axis=0))
        free_x = pairs - _pairs(self._x.weights(counts)).sum(axis=0)
        free_y = pairs - _pairs(self._y.weights(counts)).sum(axis=0)
        return _ratio(self._within(counts) + self._across(counts), np.sqrt(free_x * free_y))

    def _within(self, counts: Floats) -> Floats:
        total = np.zeros(counts.shape[1])
        for index, signs in self._blocks:
            own = counts[index]
            total += np.einsum("nc,nc->c", signs @ own, own)
        return total / 2

    def _across(self, counts: Floats) -> Floats:
        if 1 in self._shape:
            return np.zeros(counts.shape[1])
        grid = np.asarray(self._grid @ counts).reshape(*self._shape, -1)
        below = np.cumsum(grid, axis=0)
        below -= grid
        signed = np.cumsum(below, axis=1)
        signed *= 2
        signed -= below
        signed -= below.sum(axis=1, keepdims=True)
        return np.asarray(np.einsum("xyc,xyc->c", grid, signed), dtype=np.float64)


def _blocks(
    x: Ordering, y: Ordering, along: Ordering, bins: Integers, done: Integers
) -> list[tuple[Integers, Floats]]:
    """Archs of each bin and the signs of their pairs, 0 for pairs within one bin of ``done``."""
    blocks = []
    for index in np.split(along.order, np.flatnonzero(np.diff(bins[along.order])) + 1):
        if along.group[index[0]] == along.group[index[-1]]:
            continue  # one group: no pair has a sign
        signs = np.ones((len(index), len(index)))
        for side in (x.group[index], y.group[index]):
            signs *= np.sign(side[:, None] - side)
        apart = done[index]
        signs[(apart[:, None] == apart) & (apart >= 0)] = 0
        if signs.any():
            blocks.append((index, signs))
    return blocks


def _pairs(weights: Floats) -> Floats:
    return weights * (weights - 1) / 2


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    ratio = np.full(len(numerator), np.nan)
    np.divide(numerator, denominator, out=ratio, where=denominator > 0)
    return ratio


def precision(score: Ordering, accuracy: Ordering) -> float:
    """Share of the best tenth by score, ⌈N/10⌉ archs, that is in the best tenth by accuracy.

    Archs that are tied at the border share the places left, so this is the expected share
    when ties are broken at random; no order of the archs and no generator has a part in it.
    """
    places = -(-len(score.order) // 10)
    return float(_share(score, places) @ _share(accuracy, places)) / places


def _share(ordering: Ordering, places: int) -> Floats:
    """(N,), how much of a place among the best each arch has."""
    sizes = ordering.sizes
    above = len(ordering.order) - ordering.starts - sizes
    return np.asarray(np.clip((places - above) / sizes, 0, 1)[ordering.group], dtype=np.float64)


def regret(score: Ordering, accuracy: Floats) -> float:
    """Best accuracy less that of the arch with the best score, percent points.

    Where several have the best score, less their mean accuracy.
    """
    chosen = score.group == score.group.max()
    return float(accuracy.max() - accuracy[chosen].mean())
