"""Correlations of predictions."""

from __future__ import annotations

from torch import Tensor

from diswot.checks import number, positive
from diswot.distillers.base import Distiller, Step
from diswot.distillers.connectors import same_classes
from diswot.distillers.functional import dist
from diswot.models.outputs import NetworkOutputs

__all__ = ["DIST"]


class DIST(Distiller):
    """Correlation of predictions within images and classes, `diswot.distillers.functional.dist`.

    Source: Huang et al., "Knowledge Distillation from A Stronger Teacher", NeurIPS 2022.

    Args:
        name: Key of the config.
        beta: Weight of the classes of an image.
        gamma: Weight of the images of a class.
        temperature: T of both softmaxes.
        weight: See `Distiller`.
        ce_weight: See `Distiller`.

    Raises:
        UserError: A negative weight, or a temperature that is not positive.
    """

    logits_only = True

    def __init__(
        self,
        *,
        name: str,
        beta: float = 2.0,
        gamma: float = 2.0,
        temperature: float = 4.0,
        weight: float = 1.0,
        ce_weight: float = 1.0,
    ) -> None:
        super().__init__(name=name, weight=weight, ce_weight=ce_weight)
        self.beta = number(f"distiller.{name}.beta", beta, low=0)
        self.gamma = number(f"distiller.{name}.gamma", gamma, low=0)
        self.temperature = positive(f"distiller.{name}.temperature", temperature)

    def connect(self, teacher: NetworkOutputs, student: NetworkOutputs) -> None:
        """Refuse networks of another number of classes."""
        same_classes(self.name, teacher, student)

    def forward(self, teacher: NetworkOutputs, student: NetworkOutputs, step: Step) -> Tensor:
        """See `Distiller`."""
        return dist(
            teacher.logits,
            student.logits,
            beta=self.beta,
            gamma=self.gamma,
            temperature=self.temperature,
        )
