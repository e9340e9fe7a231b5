"""Knowledge distillation."""

from __future__ import annotations

from torch import Tensor

from diswot.checks import flag, positive
from diswot.distillers.base import Distiller, Step
from diswot.distillers.connectors import same_classes
from diswot.distillers.functional import kd, standardize
from diswot.models.outputs import NetworkOutputs

__all__ = ["KD"]


class KD(Distiller):
    """Divergence of the softened predictions, see `diswot.distillers.functional.kd`.

    Sources: Hinton et al., 2015; ``standardize``: Sun et al., "Logit Standardization in Knowledge
    Distillation", CVPR 2024.

    Args:
        name: Key of the config.
        temperature: T of both softmaxes.
        standardize: Whether logits are standardised per image first. The publication goes with
            ``weight=9 temperature=2``.
        weight: See `Distiller`.
        ce_weight: See `Distiller`.

    Raises:
        UserError: A temperature that is not positive, or a wrong flag.
    """

    logits_only = True

    def __init__(
        self,
        *,
        name: str,
        temperature: float = 4.0,
        standardize: bool = False,
        weight: float = 0.9,
        ce_weight: float = 0.1,
    ) -> None:
        super().__init__(name=name, weight=weight, ce_weight=ce_weight)
        self.temperature = positive(f"distiller.{name}.temperature", temperature)
        self.standardize = flag(f"distiller.{name}.standardize", standardize)

    def connect(self, teacher: NetworkOutputs, student: NetworkOutputs) -> None:
        """Refuse networks of another number of classes."""
        same_classes(self.name, teacher, student)

    def forward(self, teacher: NetworkOutputs, student: NetworkOutputs, step: Step) -> Tensor:
        """See `Distiller`."""
        told, said = teacher.logits, student.logits
        if self.standardize:
            told, said = standardize(told), standardize(said)
        return kd(told, said, temperature=self.temperature)
