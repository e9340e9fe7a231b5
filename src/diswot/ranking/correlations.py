"""Correlations of two orders or values, in many weighted samples at once.

``counts`` (N, C) says how often each of C samples drew each of N archs; all functions give (C,),
NaN where a side does not vary in a sample.
"""

from __future__ import annotations

from math import isqrt

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from diswot.ranking.orders import Order, Ranks

__all__ = ["Kendall", "partial", "pearson", "spearman"]

_BIN = 128  # archs; larger bins cost products, smaller ones a larger grid
_FLAT = 1e-13  # spread relative to the mean under which values are equal but for rounding


def spearman(
    x: Ranks, y: Ranks, counts: NDArray[np.float64], weighted: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
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


def pearson(
    x: NDArray[np.float64], y: NDArray[np.float64], counts: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Pearson's correlation of (N,) values; archs that are not finite in ``x`` are left out."""
    kept = np.isfinite(x)
    if np.count_nonzero(kept) < 2:
        return np.full(counts.shape[1], np.nan)
    counts = counts if kept.all() else counts[kept]
    total = counts.sum(axis=0)
    first, first_norm = _centred(x[kept], counts, total)
    second, second_norm = _centred(y[kept], counts, total)
    first *= counts
    together = np.einsum("nc,nc->c", first, second)
    return np.clip(_ratio(together, first_norm * second_norm), -1, 1)


def partial(xy: float, xz: float, yz: float) -> float:
    """Correlation of x and y with z held fixed; NaN where z determines one of them."""
    left = (1 - xz * xz) * (1 - yz * yz)
    return float((xy - xz * yz) / np.sqrt(left)) if left > 1e-12 else float("nan")


class Kendall:
    """Kendall's tau-b of two orders, exact for any weights.

    The sum over pairs of sign(Δx)·sign(Δy)·w·w' is split three ways, so that a sample costs
    O(N·√N) products instead of N²: pairs within a bin of x and pairs within a bin of y by
    products with small matrices of signs; all others, whose signs their bins determine, by
    cumulative sums over the grid of both bins.

    Args:
        x: One order.
        y: The other, of the same archs.
        limit: Largest bin; default: √N, at least 128.
    """

    def __init__(self, x: Order, y: Order, limit: int | None = None) -> None:
        count = len(x.order)
        limit = limit or max(_BIN, isqrt(count))
        self._x, self._y = x, y
        x_bins, y_bins = x.bins(limit), y.bins(limit)
        self._shape = (int(x_bins.max()) + 1, int(y_bins.max()) + 1)
        cells = (x_bins * self._shape[1] + y_bins, np.arange(count))
        size = (self._shape[0] * self._shape[1], count)
        self._grid = sparse.csr_array((np.ones(count), cells), shape=size)
        nowhere = np.full(count, -1)
        self._blocks = [
            *_blocks(x, y, x, x_bins, nowhere),
            *_blocks(x, y, y, y_bins, x_bins),
        ]

    def __call__(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Tau-b in each sample."""
        pairs = _pairs(counts.sum(axis=0))
        free_x = pairs - _pairs(self._x.weights(counts)).sum(axis=0)
        free_y = pairs - _pairs(self._y.weights(counts)).sum(axis=0)
        return _ratio(self._within(counts) + self._across(counts), np.sqrt(free_x * free_y))

    def _within(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        total = np.zeros(counts.shape[1])
        for index, signs in self._blocks:
            own = counts[index]
            total += np.einsum("nc,nc->c", signs @ own, own)
        return total / 2

    def _across(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:
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
    x: Order, y: Order, along: Order, bins: NDArray[np.intp], done: NDArray[np.intp]
) -> list[tuple[NDArray[np.intp], NDArray[np.float64]]]:
    """Archs of each bin and the signs of their pairs, 0 for pairs within one bin of ``done``."""
    blocks = []
    for index in np.split(along.order, np.flatnonzero(np.diff(bins[along.order])) + 1):
        if along.group[index[0]] == along.group[index[-1]]:
            continue  # one group: no pair has a sign
        signs = _signs(x, index) * _signs(y, index)
        apart = done[index]
        signs[(apart[:, None] == apart) & (apart >= 0)] = 0
        if signs.any():
            blocks.append((index, signs.astype(np.float64)))
    return blocks


def _signs(order: Order, index: NDArray[np.intp]) -> NDArray[np.intp]:
    own = order.group[index]
    return np.asarray(np.sign(own[:, None] - own), dtype=np.intp)


def _pairs(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    return weights * (weights - 1) / 2


def _centred(
    values: NDArray[np.float64], counts: NDArray[np.float64], total: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(N, C) differences from each sample's mean, and their norm, 0 where all are equal."""
    values = values / (np.abs(values).max() or 1.0)  # squares of large scores would overflow
    mean = values @ counts / np.maximum(total, 1)
    centred = values[:, None] - mean
    norm = np.sqrt(np.einsum("nc,nc,nc->c", counts, centred, centred))
    return centred, np.where(norm <= _FLAT * np.abs(mean), 0.0, norm)


def _ratio(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    ratio = np.full(len(numerator), np.nan)
    np.divide(numerator, denominator, out=ratio, where=denominator > 0)
    return ratio
