"""Attention transfer."""

from __future__ import annotations

import torch
from torch import Tensor

from diswot.checks import positive
from diswot.distillers.base import Distiller, Step
from diswot.distillers.connectors import paired_stages
from diswot.distillers.functional import at
from diswot.models.outputs import NetworkOutputs

__all__ = ["AT"]


class AT(Distiller):
    """Attention maps of every stage, added, see `diswot.distillers.functional.at`.

    Source: Zagoruyko & Komodakis, "Paying More Attention to Attention", ICLR 2017; all stages as in
    RepDistiller. Widths are free; the larger map is average-pooled.

    Args:
        name: Key of the config.
        power: Of the activations; an even one where stages do not end in a ReLU.
        weight: See `Distiller`.
        ce_weight: See `Distiller`.

    Raises:
        UserError: A power that is not positive.
    """

    def __init__(
        self, *, name: str, power: float = 2, weight: float = 1000.0, ce_weight: float = 1.0
    ) -> None:
        super().__init__(name=name, weight=weight, ce_weight=ce_weight)
        self.power = positive(f"distiller.{name}.power", power)

    def connect(self, teacher: NetworkOutputs, student: NetworkOutputs) -> None:
        """Refuse networks that show no stages."""
        paired_stages(self.name, teacher, student)

    def forward(self, teacher: NetworkOutputs, student: NetworkOutputs, step: Step) -> Tensor:
        """See `Distiller`."""
        pairs = paired_stages(self.name, teacher, student)
        return torch.stack([at(told, said, power=self.power) for told, said in pairs]).sum()
