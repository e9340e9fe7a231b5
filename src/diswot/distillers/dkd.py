"""Decoupled knowledge distillation."""

from __future__ import annotations

from torch import Tensor

from diswot.checks import number, positive, whole
from diswot.distillers.base import Distiller, Step
from diswot.distillers.connectors import refusal, same_classes
from diswot.distillers.functional import dkd
from diswot.models.outputs import NetworkOutputs

__all__ = ["DKD"]


class DKD(Distiller):
    """Label's class and the other classes weighted apart, see `diswot.distillers.functional.dkd`.

    In the first epochs the loss is multiplied by ``(epoch + 1) / warmup``, as in mdistiller, which
    counts epochs from 1.

    Source: Zhao et al., "Decoupled Knowledge Distillation", CVPR 2022.

    Args:
        name: Key of the config.
        alpha: Weight of the label's class against the others.
        beta: Weight of the others among themselves.
        temperature: T of both softmaxes.
        warmup: Epochs until the loss counts fully; 0 for at once.
        weight: See `Distiller`.
        ce_weight: See `Distiller`.

    Raises:
        UserError: A negative weight, a temperature that is not positive, a wrong warm-up.
    """

    logits_only = True
    needs_labels = True

    def __init__(
        self,
        *,
        name: str,
        alpha: float = 1.0,
        beta: float = 8.0,
        temperature: float = 4.0,
        warmup: int = 20,
        weight: float = 1.0,
        ce_weight: float = 1.0,
    ) -> None:
        super().__init__(name=name, weight=weight, ce_weight=ce_weight)
        self.alpha = number(f"distiller.{name}.alpha", alpha, low=0)
        self.beta = number(f"distiller.{name}.beta", beta, low=0)
        self.temperature = positive(f"distiller.{name}.temperature", temperature)
        self.warmup = whole(f"distiller.{name}.warmup", warmup, least=0)

    def connect(self, teacher: NetworkOutputs, student: NetworkOutputs) -> None:
        """Refuse networks of another number of classes, or of one."""
        same_classes(self.name, teacher, student)
        if student.logits.shape[1] < 2:
            raise refusal(self.name, "at least two classes", teacher.logits, student.logits)

    def forward(self, teacher: NetworkOutputs, student: NetworkOutputs, step: Step) -> Tensor:
        """See `Distiller`."""
        loss = dkd(
            teacher.logits,
            student.logits,
            labels=step.labels,
            alpha=self.alpha,
            beta=self.beta,
            temperature=self.temperature,
        )
        return loss * min((step.epoch + 1) / max(self.warmup, 1), 1.0)
