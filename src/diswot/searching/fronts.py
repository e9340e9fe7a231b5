"""The Pareto front of candidates: those of which none other is better in every way."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

DEFAULT = ("fitness", "params")
"""What a front is of, unless the strategy says otherwise; with the latency where it is known."""


def non_dominated(points: ArrayLike) -> list[int]:
    """Places of the points, rows of objectives of which less is better, that none dominates.

    One point dominates another that is nowhere better and somewhere worse. Equal points dominate
    none of each other. Places come in the order of the first objective, then of the next.

    >>> non_dominated([[2, 1], [1, 3], [2, 2], [1, 3]])
    [1, 3, 0]
    """
    rows = np.asarray(points, dtype=float)
    order: Sequence[int] = np.lexsort(rows.T[::-1]).tolist() if len(rows) else []
    if len(rows) and rows.shape[1] == len(DEFAULT):
        return _of_two(rows, order)
    front: list[int] = []
    for place in order:  # whatever dominates a point comes before it
        better = rows[front] <= rows[place]
        same = (rows[front] == rows[place]).all(axis=1) if front else np.zeros(0, bool)
        if not (better.all(axis=1) & ~same).any():
            front.append(place)
    return front


def _of_two(rows: NDArray[np.float64], order: Sequence[int]) -> list[int]:
    """As `non_dominated`, in one pass: of all before, the last of the front is least in the second.

    With as many points on the front as there are, comparing each with all takes minutes.
    """
    front: list[int] = []
    for place in order:
        least = rows[front[-1]] if front else np.array([np.nan, np.inf])
        if rows[place, 1] < least[1] or (rows[place] == least).all():
            front.append(place)
    return front
