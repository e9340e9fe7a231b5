"""What every distiller is: a loss over the outputs of both networks, with its connectors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from diswot.checks import number
from diswot.models.outputs import NetworkOutputs

__all__ = ["Distiller", "Step"]


@dataclass(frozen=True)
class Step:
    """What a distiller may read of a training step beside the outputs of both networks.

    Attributes:
        labels: Class of each image, ``(B,)``, integers.
        epoch: Finished epochs, from 0.
        teacher_weight: Weight of the teacher's classifier, ``(K, C_T)``; a constant.
        student_weight: Weight of the student's classifier, ``(K, C_S)``.
    """

    labels: Tensor
    epoch: int
    teacher_weight: Tensor
    student_weight: Tensor


class Distiller(nn.Module, ABC):
    """A distillation loss; what it learns itself, its connectors, are its parameters.

    Args:
        name: Key of the config, for logs and messages.
        weight: What the loss is multiplied by.
        ce_weight: Weight of the cross-entropy with the labels in the publication's protocol; of
            several distillers the smallest counts.

    Raises:
        UserError: A weight that is negative or not finite.
    """

    logits_only: ClassVar[bool] = False
    """Whether it reads logits alone; ``stages`` and ``preactivations`` may then be empty."""

    needs_labels: ClassVar[bool] = False
    """Whether it needs one class an image, which mixed images do not have."""

    def __init__(self, *, name: str, weight: float, ce_weight: float = 1.0) -> None:
        super().__init__()
        self.name = name
        self.weight = number(f"distiller.{name}.weight", weight, low=0)
        self.ce_weight = number(f"distiller.{name}.ce_weight", ce_weight, low=0)

    def connect(self, teacher: NetworkOutputs, student: NetworkOutputs) -> None:
        """Build the connectors, once, from the shapes of a first pass; called before training.

        The default refuses nothing and builds nothing.

        Args:
            teacher: Outputs for a few images.
            student: Outputs for the same images.

        Raises:
            UserError: It cannot serve this pair of networks.
        """

    @abstractmethod
    def forward(self, teacher: NetworkOutputs, student: NetworkOutputs, step: Step) -> Tensor:
        """The loss, without its weight: a scalar; lower is better.

        Args:
            teacher: Constants: no gradient reaches the teacher.
            student: Outputs with a graph.
            step: Labels and what else may be read.
        """
