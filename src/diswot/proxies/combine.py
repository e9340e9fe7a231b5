"""One fitness from several parts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diswot.proxies.base import Components

__all__ = ["COMBINATIONS", "combine"]

COMBINATIONS = ("sum", "zscore", "rank")


def combine(parts: Sequence[Components], how: str) -> list[float]:
    """Fitness of each candidate.

    Args:
        parts: Components of all candidates, the same names in each.
        how: ``sum`` adds the parts as they are; ``zscore`` adds (part − mean) / standard
            deviation, 0 for a part that is the same for all; ``rank`` adds ranks from 1 up,
            ties sharing the mean of theirs.

    Returns:
        One number a candidate; higher is better.
    """
    if how == "sum":
        return [sum(part.values()) for part in parts]
    if not parts:
        return []
    values = np.array([[part[name] for name in parts[0]] for part in parts], dtype=np.float64)
    if how == "rank":
        from scipy.stats import rankdata

        return [float(total) for total in rankdata(values, axis=0).sum(axis=1)]
    spread = values.std(axis=0)
    centred = values - values.mean(axis=0)
    scaled = np.divide(centred, spread, out=np.zeros_like(centred), where=np.ptp(values, 0) > 0)
    return [float(total) for total in scaled.sum(axis=1)]
