"""Distillers of preactivations; settings are those of `Distiller` and of each one's function."""

from abc import abstractmethod
from typing import cast

import torch
from torch import Tensor, nn

from diswot.checks import choice, number
from diswot.distillers import Distiller, Step
from diswot.distillers.functional import ab, mean_of_negatives, ofd
from diswot.distillers.functional.maps import one_size
from diswot.distillers.maps import CONNECTORS, stage_connectors
from diswot.models.outputs import NetworkOutputs


class _OfPreactivations(Distiller):
    """A loss a stage, of two maps of one shape; a stage counts half of the one after it."""

    reads_classifier = False

    def __init__(self, *, name: str, connector: str, **weights: float) -> None:
        super().__init__(name=name, **weights)
        self.connector = choice(f"distiller.{name}.connector", connector, CONNECTORS)
        self.connectors = nn.ModuleList()

    def connect(self, teacher: NetworkOutputs, student: NetworkOutputs) -> None:
        """Build a connector for each stage."""
        pairs = self.pairs(teacher, student, before=True)
        self.connectors = stage_connectors(pairs, self.connector)

    def forward(self, teacher: NetworkOutputs, student: NetworkOutputs, step: Step) -> Tensor:
        """See `Distiller`."""
        losses, pairs = [], self.pairs(teacher, student, before=True)
        for stage, (connector, pair) in enumerate(zip(self.connectors, pairs, strict=True)):
            map_t, map_s = one_size(*pair)
            loss = self.of_stage(stage, map_t, connector(map_s))
            losses.append(loss * 0.5 ** (len(pairs) - 1 - stage))
        return torch.stack(losses).sum()

    @abstractmethod
    def of_stage(self, stage: int, teacher: Tensor, student: Tensor) -> Tensor:
        """The loss of one stage."""


class AB(_OfPreactivations):
    """Activation boundaries of every stage, see `functional.ab`.

    Published as an initialisation: for some epochs it is all that is learned, then it plays no
    part. Here it is one loss beside the others from the first epoch to the last.
    """

    def __init__(
        self, *, name: str, margin: float = 1.0, connector: str = "auto", **weights: float
    ) -> None:
        super().__init__(name=name, connector=connector, **weights)
        self.margin = number(f"distiller.{name}.margin", margin, low=0)

    def of_stage(self, stage: int, teacher: Tensor, student: Tensor) -> Tensor:
        """See `functional.ab`."""
        return ab(teacher, student, margin=self.margin)


class RunningMargin(nn.Module):
    """Mean of the negative values that a map's channels have had so far, ``(width,)``."""

    mean: Tensor
    count: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("count", torch.zeros(width, dtype=torch.int64))

    @torch.no_grad()
    def forward(self, maps: Tensor) -> Tensor:
        """Take in maps ``(B, width, H, W)`` while training; gives the mean."""
        if self.training:
            fresh = (maps < 0).sum((0, 2, 3))
            self.count += fresh
            self.mean.lerp_(mean_of_negatives(maps), fresh / self.count.clamp_min(1))
        return self.mean.clone()


class OFD(_OfPreactivations):
    """Partial distance of every stage's preactivations, see `functional.ofd`.

    The margins are measured on the teacher's maps while the student trains, one of the two ways the
    paper gives; the other, `functional.margin_of_batch_norm`, needs a BatchNorm just before each
    stage's activation, which residual stages end without.
    """

    def __init__(self, *, name: str, connector: str = "always", **weights: float) -> None:
        super().__init__(name=name, connector=connector, **weights)
        self.margins = nn.ModuleList()

    def connect(self, teacher: NetworkOutputs, student: NetworkOutputs) -> None:
        """Build a connector and a margin for each stage."""
        super().connect(teacher, student)
        for map_t, _ in self.pairs(teacher, student, before=True):
            self.margins.append(RunningMargin(map_t.shape[1]))

    def of_stage(self, stage: int, teacher: Tensor, student: Tensor) -> Tensor:
        """See `functional.ofd`."""
        return ofd(teacher, student, margin=cast(Tensor, self.margins[stage](teacher)))
