"""Neuron selectivity transfer."""

from __future__ import annotations

import torch
from torch import Tensor

from diswot.distillers.base import Distiller, Step
from diswot.distillers.connectors import paired_stages
from diswot.distillers.functional import nst
from diswot.models.outputs import NetworkOutputs

__all__ = ["NST"]


class NST(Distiller):
    """Squared MMD of the channels of every stage, added, `diswot.distillers.functional.nst`.

    Source: Huang & Wang, "Like What You Like: Knowledge Distill via Neuron Selectivity Transfer",
    2017; all stages as in RepDistiller. Widths are free; the larger map is average-pooled.

    Args:
        name: Key of the config.
        weight: See `Distiller`.
        ce_weight: See `Distiller`.
    """

    def __init__(self, *, name: str, weight: float = 50.0, ce_weight: float = 1.0) -> None:
        super().__init__(name=name, weight=weight, ce_weight=ce_weight)

    def connect(self, teacher: NetworkOutputs, student: NetworkOutputs) -> None:
        """Refuse networks that show no stages."""
        paired_stages(self.name, teacher, student)

    def forward(self, teacher: NetworkOutputs, student: NetworkOutputs, step: Step) -> Tensor:
        """See `Distiller`."""
        pairs = paired_stages(self.name, teacher, student)
        return torch.stack([nst(told, said) for told, said in pairs]).sum()
