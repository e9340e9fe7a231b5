"""Limits a candidate must keep, checked before it is scored."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from diswot.errors import UserError

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
        for name, value in {**self.limits(), "max_tries": self.max_tries}.items():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not math.isfinite(value) or value < 1:
                raise UserError(
                    f"budget.{name}={value}: must be a number of at least 1"
                    + ("" if name == "max_tries" else ", or null for no limit")
                )

    def limits(self) -> dict[str, float]:
        """The limits that are set, by name."""
        named = {"params": self.params, "flops": self.flops, "layers": self.layers}
        return {name: limit for name, limit in named.items() if limit is not None}

    def excess(self, arch: Arch, costs: CostModel) -> float:
        """How far ``arch`` is over its worst limit: 0 inside, 1 at twice the limit.

        The cheap counts come first, and the first broken limit answers.
        """
        limits = self.limits()
        for name, measure in costs.measures().items():
            if name in limits and (value := measure(arch)) > limits[name]:
                return value / limits[name] - 1.0
        return 0.0

    def __str__(self) -> str:
        return ", ".join(f"{k} ≤ {v:,.0f}" for k, v in self.limits().items()) or "no limit"
