"""Probabilistic knowledge transfer."""

from __future__ import annotations

from torch import Tensor

from diswot.checks import positive
from diswot.distillers.base import Distiller, Step
from diswot.distillers.functional import pkt
from diswot.models.outputs import NetworkOutputs

__all__ = ["PKT"]


class PKT(Distiller):
    """Probabilities of neighbours among the embeddings, `diswot.distillers.functional.pkt`.

    Source: Passalis & Tefas, "Learning Deep Representations with Probabilistic Knowledge
    Transfer", ECCV 2018; embeddings as in RepDistiller. Their widths are free.

    Args:
        name: Key of the config.
        eps: Floor of probabilities and lengths.
        weight: See `Distiller`.
        ce_weight: See `Distiller`.

    Raises:
        UserError: A floor that is not positive.
    """

    def __init__(
        self, *, name: str, eps: float = 1e-7, weight: float = 30000.0, ce_weight: float = 1.0
    ) -> None:
        super().__init__(name=name, weight=weight, ce_weight=ce_weight)
        self.eps = positive(f"distiller.{name}.eps", eps)

    def forward(self, teacher: NetworkOutputs, student: NetworkOutputs, step: Step) -> Tensor:
        """See `Distiller`."""
        return pkt(teacher.embedding, student.embedding, eps=self.eps)
