"""Hints of FitNets."""

from __future__ import annotations

from torch import Tensor, nn

from diswot.checks import choice, whole
from diswot.distillers.base import Distiller, Step
from diswot.distillers.connectors import CONNECTORS, Projection, paired_stages
from diswot.distillers.functional import fitnet
from diswot.distillers.functional._shapes import one_size
from diswot.errors import UserError
from diswot.models.outputs import NetworkOutputs

__all__ = ["FitNet"]


class FitNet(Distiller):
    """Squared error of one stage's map after a regressor, `diswot.distillers.functional.fitnet`.

    The larger map is average-pooled to the size of the smaller one; RepDistiller strides or
    transposes the regressor's convolution instead. Everything is trained at once, in one stage.

    Source: Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015. RepDistiller hints the
    second of three stages and puts a 1 x 1 convolution, BatchNorm and ReLU after the student's.

    Args:
        name: Key of the config.
        stage: Which of the stages both have, from 1; ``None`` is the middle one.
        connector: Regressor ``always``, as published, or ``auto``: only where widths differ.
        weight: See `Distiller`.
        ce_weight: See `Distiller`.

    Raises:
        UserError: A stage that is no number of at least 1, or an unknown connector.
    """

    def __init__(
        self,
        *,
        name: str,
        stage: int | None = None,
        connector: str = "always",
        weight: float = 100.0,
        ce_weight: float = 1.0,
    ) -> None:
        super().__init__(name=name, weight=weight, ce_weight=ce_weight)
        self.stage = None if stage is None else whole(f"distiller.{name}.stage", stage, least=1)
        self.connector = choice(f"distiller.{name}.connector", connector, CONNECTORS)
        self.regressor: nn.Module = nn.Identity()

    def connect(self, teacher: NetworkOutputs, student: NetworkOutputs) -> None:
        """Build the regressor."""
        told, said = self._hint(teacher, student)
        if self.connector == "always" or told.shape[1] != said.shape[1]:
            self.regressor = Projection(said.shape[1], told.shape[1], bias=True, relu=True)

    def forward(self, teacher: NetworkOutputs, student: NetworkOutputs, step: Step) -> Tensor:
        """See `Distiller`."""
        told, said = one_size(*self._hint(teacher, student))
        return fitnet(told, self.regressor(said))

    def _hint(self, teacher: NetworkOutputs, student: NetworkOutputs) -> tuple[Tensor, Tensor]:
        pairs = paired_stages(self.name, teacher, student)
        stage = self.stage or (len(pairs) + 1) // 2
        if stage > len(pairs):
            raise UserError(
                f"distiller.{self.name}.stage={stage}: teacher and student share {len(pairs)} "
                f"stages; give 1 to {len(pairs)}, or null for the middle one"
            )
        return pairs[stage - 1]
