"""Inter-channel correlation."""

from __future__ import annotations

from torch import Tensor, nn

from diswot.checks import choice
from diswot.distillers.base import Distiller, Step
from diswot.distillers.connectors import CONNECTORS, Projection, paired_stages
from diswot.distillers.functional import ickd
from diswot.models.outputs import NetworkOutputs

__all__ = ["ICKD"]


class ICKD(Distiller):
    """Correlations of channels in the last stage's map, see `diswot.distillers.functional.ickd`.

    Source: Liu et al., "Exploring Inter-Channel Correlation for Diversity-Preserved Knowledge
    Distillation", ICCV 2021. Its released code puts a 1 x 1 convolution and BatchNorm after the
    student's map and compares the last map alone.

    Args:
        name: Key of the config.
        connector: Embedding ``always``, as published, or ``auto``: only where widths differ.
        weight: See `Distiller`.
        ce_weight: See `Distiller`.

    Raises:
        UserError: An unknown connector.
    """

    def __init__(
        self,
        *,
        name: str,
        connector: str = "always",
        weight: float = 2.5,
        ce_weight: float = 1.0,
    ) -> None:
        super().__init__(name=name, weight=weight, ce_weight=ce_weight)
        self.connector = choice(f"distiller.{name}.connector", connector, CONNECTORS)
        self.embed: nn.Module = nn.Identity()

    def connect(self, teacher: NetworkOutputs, student: NetworkOutputs) -> None:
        """Build the embedding."""
        told, said = paired_stages(self.name, teacher, student)[-1]
        if self.connector == "always" or told.shape[1] != said.shape[1]:
            self.embed = Projection(said.shape[1], told.shape[1], bias=False, relu=False)

    def forward(self, teacher: NetworkOutputs, student: NetworkOutputs, step: Step) -> Tensor:
        """See `Distiller`."""
        told, said = paired_stages(self.name, teacher, student)[-1]
        return ickd(told, self.embed(said))
