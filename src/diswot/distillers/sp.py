"""Similarity-preserving distillation."""

from __future__ import annotations

from torch import Tensor

from diswot.distillers.base import Distiller, Step
from diswot.distillers.connectors import paired_stages
from diswot.distillers.functional import sp
from diswot.models.outputs import NetworkOutputs

__all__ = ["SP"]


class SP(Distiller):
    """Relations of the images in the last stage's map, `diswot.distillers.functional.sp`.

    Source: Tung & Mori, "Similarity-Preserving Knowledge Distillation", ICCV 2019; the last map as
    in RepDistiller. Widths and sizes are free.

    Args:
        name: Key of the config.
        weight: See `Distiller`.
        ce_weight: See `Distiller`.
    """

    def __init__(self, *, name: str, weight: float = 3000.0, ce_weight: float = 1.0) -> None:
        super().__init__(name=name, weight=weight, ce_weight=ce_weight)

    def connect(self, teacher: NetworkOutputs, student: NetworkOutputs) -> None:
        """Refuse networks that show no stages."""
        paired_stages(self.name, teacher, student)

    def forward(self, teacher: NetworkOutputs, student: NetworkOutputs, step: Step) -> Tensor:
        """See `Distiller`."""
        told, said = paired_stages(self.name, teacher, student)[-1]
        return sp(told, said)
