"""What one gets who trusts a proxy: how good the archs are that it puts first."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diswot.ranking.orders import Order

__all__ = ["precision", "regret"]


def precision(score: Order, accuracy: Order) -> float:
    """Share of the best tenth by score, ⌈N/10⌉ archs, that is in the best tenth by accuracy.

    Archs that are tied at the border share the places left, so this is the expected share
    when ties are broken at random; no order of the archs and no generator has a part in it.
    """
    places = -(-len(score.order) // 10)
    return float(_share(score, places) @ _share(accuracy, places)) / places


def regret(score: Order, accuracy: NDArray[np.float64]) -> float:
    """Best accuracy less that of the arch with the best score, percent points.

    Where several have the best score, less their mean accuracy.
    """
    chosen = score.group == score.group.max()
    return float(accuracy.max() - accuracy[chosen].mean())


def _share(order: Order, places: int) -> NDArray[np.float64]:
    """(N,), how much of a place among the best each arch has."""
    sizes = order.sizes
    above = len(order.order) - order.starts - sizes
    return np.asarray(np.clip((places - above) / sizes, 0, 1)[order.group], dtype=np.float64)
