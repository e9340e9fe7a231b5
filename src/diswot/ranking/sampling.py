"""The correlations of all proxies with all targets on the sample and its resamples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from diswot.ranking.correlations import Kendall, pearson, spearman
from diswot.ranking.orders import Order
from diswot.ranking.resamples import Resamples

__all__ = ["Sampler", "Samples"]

Samples = list[NDArray[np.float64]]
"""For each target (seeds, resamples + 1); index 0 is the sample itself."""


class Sampler:
    """Correlates scores with the targets on shared resamples.

    Args:
        accuracy: (N,) for each target.
        resamples: Their number.
        seed: Of their generator.
    """

    def __init__(self, accuracy: Sequence[NDArray[np.float64]], resamples: int, seed: int) -> None:
        self.accuracy = accuracy
        self.targets = [Order.of(values) for values in accuracy]
        self._resamples = Resamples(len(accuracy[0]), resamples, seed)

    def spearman(self, orders: Mapping[str, Sequence[Order]]) -> dict[str, Samples]:
        """Of each proxy's orders, one a seed; all proxies at once, to rank a target once."""
        samples = {name: self._empty(len(own)) for name, own in orders.items()}
        for where, counts in self._resamples.chunks():
            others = [target.ranks(counts) for target in self.targets]
            for name, own in orders.items():
                for seed, order in enumerate(own):
                    ranks = order.ranks(counts)
                    weighted = counts * ranks.doubled
                    for sample, other in zip(samples[name], others, strict=True):
                        sample[seed, where] = spearman(ranks, other, counts, weighted)
        return samples

    def kendall(self, own: Sequence[Order]) -> Samples:
        """Of one proxy's orders, one a seed."""
        samples = self._empty(len(own))
        for seed, order in enumerate(own):
            for sample, target in zip(samples, self.targets, strict=True):
                tau = Kendall(order, target)
                for where, counts in self._resamples.chunks():
                    sample[seed, where] = tau(counts)
        return samples

    def pearson(self, scores: NDArray[np.float64]) -> Samples:
        """Of one proxy's scores (seeds, N)."""
        samples = self._empty(len(scores))
        for where, counts in self._resamples.chunks():
            for seed, row in enumerate(scores):
                for sample, accuracy in zip(samples, self.accuracy, strict=True):
                    sample[seed, where] = pearson(row, accuracy, counts)
        return samples

    def _empty(self, seeds: int) -> Samples:
        return [np.empty((seeds, len(self._resamples))) for _ in self.targets]
