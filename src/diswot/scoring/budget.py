"""Limits a candidate must keep, checked before it is scored."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from diswot.checks import positive, whole

if TYPE_CHECKING:
    from diswot.scoring.cost import CostModel
    from diswot.spaces.base import Arch

__all__ = ["Budget"]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Upper limits; None sets no limit.

    Attributes:
        params: Trainable parameters.
        flops: Multiply-accumulates of one image.
        layers: Convolutions and linear layers, projection shortcuts not counted.
        max_tries: Proposals in a row that may break the budget before the search gives up.

    Raises:
        UserError: A limit that is not a positive number.
    """

    params: float | None = None
    flops: float | None = None
    layers: float | None = None
    max_tries: int = 1000

    def __post_init__(self) -> None:
        """Refuse limits no candidate can have."""
        for name, value in self.limits().items():
            positive(f"budget.{name}", value)
        object.__setattr__(self, "max_tries", whole("budget.max_tries", self.max_tries, 1))

    def limits(self) -> dict[str, float]:
        """The limits that are set, by name."""
        named = {"params": self.params, "flops": self.flops, "layers": self.layers}
        return {name: limit for name, limit in named.items() if limit is not None}

    def excess(self, arch: Arch, costs: CostModel, enough: float = math.inf) -> float:
        """How far ``arch`` is over its worst limit: 0 inside, 1 at twice the limit.

        Args:
            arch: Of the space ``costs`` counts.
            costs: Counts; the cheap ones come first.
            enough: An excess above which the exact value does not matter: what is known to be
                over it is not counted further.
        """
        worst = 0.0
        limits = self.limits()
        for name, measure in costs.measures().items():
            if name in limits and worst <= enough:
                worst = max(worst, measure(arch) / limits[name] - 1.0)
        return worst

    def __str__(self) -> str:
        return ", ".join(f"{k} ≤ {v:,.0f}" for k, v in self.limits().items()) or "no limit"
