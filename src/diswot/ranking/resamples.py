"""Bootstrap resamples of the archs, as how often each arch was drawn."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["Resamples", "interval"]

_NUMBERS = 2**20  # float64 of a chunk; a few such arrays fit into the caches


class Resamples:
    """The sample itself and bootstrap resamples of it, the same for all that is computed of them.

    Index 0 is the sample (every arch once), 1 to ``resamples`` the resamples: N archs drawn with
    replacement from the generator PCG64(seed), one resample after the other. A resample is never
    copied out; statistics take how often each arch was drawn as its weight.

    Args:
        archs: N.
        resamples: Number of resamples, at least 1.
        seed: Of the generator.
    """

    def __init__(self, archs: int, resamples: int, seed: int) -> None:
        generator = np.random.Generator(np.random.PCG64(seed))
        self._counts = np.ones((resamples + 1, archs), dtype=np.min_scalar_type(archs))
        for row in self._counts[1:]:
            row[:] = np.bincount(generator.integers(archs, size=archs), minlength=archs)

    def __len__(self) -> int:
        return len(self._counts)

    def chunks(self) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """Some indices at a time, and (N, indices): how often each arch was drawn."""
        size = max(8, _NUMBERS // max(1, self._counts.shape[1]))
        for start in range(0, len(self), size):
            where = slice(start, min(start + size, len(self)))
            yield where, np.ascontiguousarray(self._counts[where].T, dtype=np.float64)


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """The 95 % percentile interval of a statistic's values on the resamples.

    Resamples on which it is not defined (such as those that drew one arch only) are left out;
    NaN when none is left.
    """
    defined = values[np.isfinite(values)]
    if not len(defined):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, (0.025, 0.975))
    return float(low), float(high)
