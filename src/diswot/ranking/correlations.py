"""Correlations of two orderings or values, in many weighted samples at once.

``counts`` (N, C) says how often each of C samples drew each of N archs; correlations are (C,),
NaN where a side does not vary in a sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import isqrt, nan
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Floats = NDArray[np.float64]
Integers = NDArray[np.intp]

_BIN = 128  # archs; larger bins cost products, smaller ones a larger grid
_FLAT = 1e-13  # spread relative to the mean under which values are equal but for rounding


class Ranks(NamedTuple):
    """Ranks of the archs in C samples.

    Attributes:
        doubled: (N, C), twice the midrank less its mean: whole numbers, so that sums are exact.
        weighted: (N, C), the same times how often the arch was drawn.
        squares: (C,), their weighted sum of squares.
    """

    doubled: Floats
    weighted: Floats
    squares: Floats


@dataclass(frozen=True)
class Ordering:
    """N archs ordered by one score or accuracy; equal values form a group.

    Attributes:
        order: (N,), indices of the archs, worst first.
        group: (N,), the group of each arch, 0 for the worst.
        starts: (G,), where each group starts in ``order``.
        sizes: (G,), archs of each group.
    """

    order: Integers
    group: Integers
    starts: Integers
    sizes: Integers

    @classmethod
    def of(cls, values: Floats) -> Ordering:
        """Sort (N,) values; all that are not finite are one group below all others."""
        filled = np.where(np.isfinite(values), values, -np.inf)
        _, group, sizes = np.unique(filled, return_inverse=True, return_counts=True)
        return cls(np.argsort(group, kind="stable"), group, np.cumsum(sizes) - sizes, sizes)

    def weights(self, counts: Floats) -> Floats:
        """(G, C), what each group weighs in the samples."""
        weights: Floats = np.add.reduceat(counts[self.order], self.starts, axis=0)
        return weights

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
        own = doubled[self.group]
        return Ranks(own, counts * own, np.einsum("gc,gc->c", weights, doubled))

    def bins(self, limit: int) -> Integers:
        """(N,), numbers of bins, in order: of less than 2·limit archs, or of a single group."""
        bins = 2 * (self.starts // limit) + (self.sizes >= limit)  # a large group has its own
        return np.unique(bins, return_inverse=True)[1][self.group]


def spearman(x: Ranks, y: Ranks) -> Floats:
    """Spearman's rank correlation, with midranks."""
    together = np.einsum("nc,nc->c", x.weighted, y.doubled)
    return _ratio(together, np.sqrt(x.squares * y.squares))


def pearson(x: Floats, y: Floats, counts: Floats) -> Floats:
    """Pearson's correlation of (N,) values; archs that are not finite in ``x`` are left out."""
    kept = np.isfinite(x)
    if np.count_nonzero(kept) < 2:
        return np.full(counts.shape[1], np.nan)
    counts = counts if kept.all() else counts[kept]
    first, first_norm = _centred(x[kept], counts)
    second, second_norm = _centred(y[kept], counts)
    first *= counts
    together = np.einsum("nc,nc->c", first, second)
    return np.clip(_ratio(together, first_norm * second_norm), -1, 1)


def _centred(values: Floats, counts: Floats) -> tuple[Floats, Floats]:
    """(N, C) differences from each sample's mean, and their norm, 0 where all are equal."""
    values = values / (np.abs(values).max() or 1.0)  # squares of large scores would overflow
    mean = values @ counts / np.maximum(counts.sum(axis=0), 1)
    centred = values[:, None] - mean
    norm = np.sqrt(np.einsum("nc,nc,nc->c", counts, centred, centred))
    return centred, np.where(norm <= _FLAT * np.abs(mean), 0.0, norm)


def partial(x: Ordering, y: Ordering, z: Ordering) -> float:
    """Spearman of x and y with z held fixed; NaN where z determines one of them."""
    ranks = [side.ranks(np.ones((len(side.order), 1))) for side in (x, y, z)]
    xy, xz, yz = (float(spearman(a, b)[0]) for a, b in combinations(ranks, 2))
    left = (1 - xz * xz) * (1 - yz * yz)
    return float((xy - xz * yz) / np.sqrt(left)) if left > 1e-12 else nan


class Kendall:
    """Kendall's tau-b of two orderings, exact for any weights.

    The sum over pairs of sign(Δx)·sign(Δy)·w·w' is split three ways, so that a sample costs
    O(N·√N) products instead of N²: pairs within a bin of x and pairs within a bin of y by
    products with small matrices of signs; all others, whose signs their bins determine, by
    cumulative sums over the grid of both bins. Bins have ``limit`` archs, by default √N or 128.
    """

    def __init__(self, x: Ordering, y: Ordering, limit: int | None = None) -> None:
        archs = np.arange(len(x.order))
        limit = limit or max(_BIN, isqrt(len(archs)))
        self._sides, x_bins, y_bins = (x, y), x.bins(limit), y.bins(limit)
        self._shape = x_bins.max() + 1, y_bins.max() + 1
        cells = np.ravel_multi_index((x_bins, y_bins), self._shape)
        size = np.prod(self._shape), len(archs)
        self._grid = sparse.csr_array((np.ones(len(archs)), (cells, archs)), size)
        self._blocks = []  # archs of each bin, and the signs of their pairs
        for side, bins, apart in ((x, x_bins, archs), (y, y_bins, x_bins)):
            for index in np.split(side.order, np.flatnonzero(np.diff(bins[side.order])) + 1):
                if side.group[index[0]] == side.group[index[-1]]:
                    continue  # one group: no pair has a sign
                signs = np.not_equal.outer(apart[index], apart[index]).astype(np.float64)
                for group in (x.group[index], y.group[index]):
                    signs *= np.sign(np.subtract.outer(group, group))
                self._blocks.append((index, signs))

    def __call__(self, counts: Floats) -> Floats:
        """Tau-b in each sample."""
        within = np.zeros(counts.shape[1])
        for index, signs in self._blocks:
            own = counts[index]
            within += np.einsum("nc,nc->c", signs @ own, own)
        grid = np.asarray(self._grid @ counts).reshape(*self._shape, -1)
        below = np.cumsum(grid, axis=0)
        below -= grid
        signed = np.cumsum(below, axis=1)
        signed *= 2
        signed -= below
        signed -= below.sum(axis=1, keepdims=True)
        across = np.einsum("xyc,xyc->c", grid, signed)
        pairs = _pairs(counts.sum(axis=0))
        free_x, free_y = (pairs - _pairs(s.weights(counts)).sum(axis=0) for s in self._sides)
        return _ratio(within / 2 + across, np.sqrt(free_x * free_y))


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
    shares = []  # of each side (N,): how much of a place among the best each arch has
    for side in (score, accuracy):
        above = len(side.order) - side.starts - side.sizes
        shares.append(np.clip((places - above) / side.sizes, 0, 1)[side.group])
    return float(shares[0] @ shares[1]) / places


def ndcg(score: Ordering, accuracy: Floats) -> float:
    """Normalised discounted cumulative gain of the best tenth by score, ⌈N/10⌉ places.

    ``Σ_i g_i / log2(1 + i)`` over the places i = 1, 2, … divided by the same of the best order;
    the gain g is an arch's accuracy above the worst one's, tied archs have their mean gain. 1 is
    perfect. Source: Järvelin & Kekäläinen, "Cumulated gain-based evaluation of IR techniques",
    ACM TOIS 2002; for architectures Zhang et al., "AceNAS", arXiv:2108.03001.
    """
    places = -(-len(accuracy) // 10)
    gains = accuracy - accuracy.min()
    means = np.bincount(score.group, weights=gains) / score.sizes
    discounts = 1 / np.log2(np.arange(2, places + 2))
    best = np.sort(gains)[::-1][:places] @ discounts
    by_score = means[score.group[score.order[::-1]]][:places] @ discounts
    return float(by_score / best) if best else nan


def regret(score: Ordering, accuracy: Floats) -> float:
    """Best accuracy less the mean of the archs with the best score, percent points."""
    return float(accuracy.max() - accuracy[score.group == score.group.max()].mean())
