"""Variational information distillation."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from diswot.checks import number
from diswot.distillers.base import Distiller, Step
from diswot.distillers.connectors import MeanNetwork, paired_stages
from diswot.distillers.functional import vid
from diswot.distillers.functional._shapes import one_size
from diswot.models.outputs import NetworkOutputs

__all__ = ["VID"]

_EPS = 1e-5


class VID(Distiller):
    """Likelihood of the teacher's maps given the student's, `diswot.distillers.functional.vid`.

    Added over all stages, each with a network for the mean and a learned variance a channel. The
    larger map is average-pooled first. It may fall below 0.

    Source: Ahn et al., "Variational Information Distillation for Knowledge Transfer", CVPR 2019,
    in the form of RepDistiller (Tian et al., ICLR 2020).

    Args:
        name: Key of the config.
        variance: Of every channel at the start, from 0.001 to 100.
        weight: See `Distiller`.
        ce_weight: See `Distiller`.

    Raises:
        UserError: A variance outside its range.
    """

    def __init__(
        self, *, name: str, variance: float = 5.0, weight: float = 1.0, ce_weight: float = 1.0
    ) -> None:
        super().__init__(name=name, weight=weight, ce_weight=ce_weight)
        self.variance = number(f"distiller.{name}.variance", variance, low=1e-3, high=100)
        self.means = nn.ModuleList()

    def connect(self, teacher: NetworkOutputs, student: NetworkOutputs) -> None:
        """Build a network for the mean of each stage."""
        self.means = nn.ModuleList(
            MeanNetwork(said.shape[1], told.shape[1], variance=self.variance, eps=_EPS)
            for told, said in paired_stages(self.name, teacher, student)
        )

    def forward(self, teacher: NetworkOutputs, student: NetworkOutputs, step: Step) -> Tensor:
        """See `Distiller`."""
        losses = []
        pairs = paired_stages(self.name, teacher, student)
        for module, (told, said) in zip(self.means, pairs, strict=True):
            mean = cast(MeanNetwork, module)
            target, seen = one_size(told, said)
            losses.append(vid(target, mean(seen), log_scale=mean.log_scale, eps=_EPS))
        return torch.stack(losses).sum()
