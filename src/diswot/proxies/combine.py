"""Combination of several components into one score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diswot.proxies.base import Components

__all__ = ["COMBINATIONS", "combine"]

COMBINATIONS = ("sum", "zscore", "rank")


def combine(components: Sequence[Components], how: str) -> list[float]:
    """Score of each candidate, higher is better, from the components of all, alike in their names.

    ``sum`` adds the components as they are; ``zscore`` adds (component − mean) / standard
    deviation, 0 for a component that is the same for all; ``rank`` adds ranks from 1 up, ties
    sharing the mean of theirs.

        >>> components = [{"a": 1.0, "b": 9.0}, {"a": 3.0, "b": 7.0}, {"a": 2.0, "b": 7.0}]
        >>> combine(components, "sum"), combine(components, "rank")
        ([10.0, 10.0, 9.0], [4.0, 4.5, 3.5])
    """
    if how == "sum":
        return [sum(each.values()) for each in components]
    if not components:
        return []
    names = list(components[0])
    values = np.array([[each[name] for name in names] for each in components], dtype=np.float64)
    if how == "rank":
        from scipy.stats import rankdata

        return list(map(float, rankdata(values, axis=0).sum(axis=1)))
    spread = values.std(axis=0)
    centred = values - values.mean(axis=0)
    scaled = np.divide(centred, spread, out=np.zeros_like(centred), where=np.ptp(values, 0) > 0)
    return [float(total) for total in scaled.sum(axis=1)]
