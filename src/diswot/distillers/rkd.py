"""Relational distillation."""

from __future__ import annotations

from torch import Tensor

from diswot.checks import number
from diswot.distillers.base import Distiller, Step
from diswot.distillers.functional import rkd
from diswot.models.outputs import NetworkOutputs

__all__ = ["RKD"]


class RKD(Distiller):
    """Distances and angles between embeddings, see `diswot.distillers.functional.rkd`.

    Source: Park et al., "Relational Knowledge Distillation", CVPR 2019; embeddings as in
    RepDistiller. Their widths are free. A batch of one image relates to nothing and gives 0.

    Args:
        name: Key of the config.
        distance_weight: Of the distances between two images.
        angle_weight: Of the angles between three.
        weight: See `Distiller`.
        ce_weight: See `Distiller`.

    Raises:
        UserError: A negative weight.
    """

    def __init__(
        self,
        *,
        name: str,
        distance_weight: float = 25.0,
        angle_weight: float = 50.0,
        weight: float = 1.0,
        ce_weight: float = 1.0,
    ) -> None:
        super().__init__(name=name, weight=weight, ce_weight=ce_weight)
        self.distance_weight = number(f"distiller.{name}.distance_weight", distance_weight, low=0)
        self.angle_weight = number(f"distiller.{name}.angle_weight", angle_weight, low=0)

    def forward(self, teacher: NetworkOutputs, student: NetworkOutputs, step: Step) -> Tensor:
        """See `Distiller`."""
        if len(student.embedding) < 2:
            return student.embedding.sum() * 0
        return rkd(
            teacher.embedding,
            student.embedding,
            distance_weight=self.distance_weight,
            angle_weight=self.angle_weight,
        )
