"""Distillers of feature maps, and the connectors they put between student and teacher.

Settings are those of `Distiller` and of the function each names. All but `ICKD`, which takes any
sizes, average-pool the larger of two maps to the size of the smaller one. ``connector`` puts a
`Projection` after the student's map ``always``, as published, or ``auto``: where widths differ.
"""

from collections.abc import Sequence
from math import expm1, log
from typing import cast

import torch
from torch import Tensor, nn

from diswot.checks import choice, number, positive, whole
from diswot.distillers import Distiller, OfStages, Step
from diswot.distillers.functional import at, fitnet, ickd, nst, vid
from diswot.distillers.functional.maps import one_size
from diswot.errors import UserError
from diswot.models.outputs import NetworkOutputs

CONNECTORS = ("always", "auto")
_EPS = 1e-5


class AT(OfStages):
    """Attention maps of every stage, added as in RepDistiller, see `functional.at`."""

    def __init__(self, *, name: str, power: float = 2, **weights: float) -> None:
        super().__init__(name=name, **weights)
        self.power = positive(f"distiller.{name}.power", power)

    def connect(self, teacher: NetworkOutputs, student: NetworkOutputs) -> None:
        """Refuse a power that is not even where maps have signs: attention would have them too."""
        signed = any((maps < 0).any() for pair in self.pairs(teacher, student) for maps in pair)
        if self.power % 2 and signed:
            raise UserError(
                f"distiller.{self.name}.power={self.power:g}: maps of this pair have negative "
                "values; give an even number"
            )

    def forward(self, teacher: NetworkOutputs, student: NetworkOutputs, step: Step) -> Tensor:
        """See `Distiller`."""
        losses = [at(*pair, power=self.power) for pair in self.pairs(teacher, student)]
        return torch.stack(losses).sum()


class NST(OfStages):
    """Squared MMD of the channels of every stage, as in RepDistiller, see `functional.nst`."""

    def forward(self, teacher: NetworkOutputs, student: NetworkOutputs, step: Step) -> Tensor:
        """See `Distiller`."""
        return torch.stack([nst(*pair) for pair in self.pairs(teacher, student)]).sum()


class Projection(nn.Module):
    """1 x 1 convolution and BatchNorm, then a ReLU where the map it is compared with had one.

    ``in_channels`` is the student's width, ``out_channels`` the teacher's.
    """

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool, relu: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=bias)
        self.bn = nn.BatchNorm2d(out_channels)
        self.activation = nn.ReLU() if relu else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        """Map ``(B, out_channels, H, W)`` of ``(B, in_channels, H, W)``."""
        return cast(Tensor, self.activation(self.bn(self.conv(maps))))


def stage_connectors(pairs: Sequence[tuple[Tensor, Tensor]], connector: str) -> nn.ModuleList:
    """A `Projection` without ReLU for each pair of stages, with ``auto`` where widths differ."""
    widths = [(map_s.shape[1], map_t.shape[1]) for map_t, map_s in pairs]
    return nn.ModuleList(
        Projection(*both, bias=False, relu=False)
        if connector == "always" or len(set(both)) > 1
        else nn.Identity()
        for both in widths
    )


class FitNet(Distiller):
    """Squared error of one stage's map after a regressor, see `functional.fitnet`.

    RepDistiller hints the second of three stages and puts a 1 x 1 convolution, BatchNorm and ReLU
    after the student's; it strides or transposes that convolution where sizes differ, here they are
    pooled. The ReLU is left out where the teacher's map has negative values, as those of networks
    with LayerNorm, which it could not reach. Everything is trained at once, in one stage.

    ``stage`` is one of those both have, from 1; ``None`` is the middle one.
    """

    reads_classifier = False

    def __init__(
        self, *, name: str, stage: int | None = None, connector: str = "always", **weights: float
    ) -> None:
        super().__init__(name=name, **weights)
        self.stage = None if stage is None else whole(f"distiller.{name}.stage", stage, least=1)
        self.connector = choice(f"distiller.{name}.connector", connector, CONNECTORS)
        self.regressor: nn.Module = nn.Identity()

    def connect(self, teacher: NetworkOutputs, student: NetworkOutputs) -> None:
        """Build the regressor."""
        map_t, map_s = self._hint(teacher, student)
        width_t, width_s = map_t.shape[1], map_s.shape[1]
        if self.connector == "always" or width_t != width_s:
            relu = bool((map_t >= 0).all())
            self.regressor = Projection(width_s, width_t, bias=True, relu=relu)

    def forward(self, teacher: NetworkOutputs, student: NetworkOutputs, step: Step) -> Tensor:
        """See `Distiller`."""
        map_t, map_s = one_size(*self._hint(teacher, student))
        return fitnet(map_t, self.regressor(map_s))

    def _hint(self, teacher: NetworkOutputs, student: NetworkOutputs) -> tuple[Tensor, Tensor]:
        pairs = self.pairs(teacher, student)
        stage = self.stage or (len(pairs) + 1) // 2
        if stage > len(pairs):
            raise UserError(
                f"distiller.{self.name}.stage={stage}: teacher and student share {len(pairs)} "
                f"stages; give 1 to {len(pairs)}, or null for the middle one"
            )
        return pairs[stage - 1]


class ICKD(Distiller):
    """Correlations of channels in the last stage's map, see `functional.ickd`.

    As released, a 1 x 1 convolution and BatchNorm follow the student's map.
    """

    reads_classifier = False

    def __init__(self, *, name: str, connector: str = "always", **weights: float) -> None:
        super().__init__(name=name, **weights)
        self.connector = choice(f"distiller.{name}.connector", connector, CONNECTORS)
        self.embed: nn.Module = nn.Identity()

    def connect(self, teacher: NetworkOutputs, student: NetworkOutputs) -> None:
        """Build the embedding."""
        width_t, width_s = (m.shape[1] for m in self.pairs(teacher, student)[-1])
        if self.connector == "always" or width_t != width_s:
            self.embed = Projection(width_s, width_t, bias=False, relu=False)

    def forward(self, teacher: NetworkOutputs, student: NetworkOutputs, step: Step) -> Tensor:
        """See `Distiller`."""
        map_t, map_s = self.pairs(teacher, student)[-1]
        return ickd(map_t, self.embed(map_s))


class MeanNetwork(nn.Module):
    """Mean and log-scale of VID: three 1 x 1 convolutions without bias, a scale a channel.

    ``in_channels`` is the student's width, ``out_channels`` the teacher's, also between the
    convolutions; ``variance`` is that of every channel at the start, above 1e-5.
    """

    def __init__(self, in_channels: int, out_channels: int, *, variance: float = 5.0) -> None:
        super().__init__()
        self.regressor = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(out_channels, out_channels, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(out_channels, out_channels, 1, bias=False),
        )
        self.log_scale = nn.Parameter(torch.full((out_channels,), log(expm1(variance - _EPS))))

    def forward(self, maps: Tensor) -> Tensor:
        """Mean ``(B, out_channels, H, W)`` of ``(B, in_channels, H, W)``."""
        return cast(Tensor, self.regressor(maps))


class VID(Distiller):
    """Likelihood of the teacher's maps given the student's, see `functional.vid`.

    Added over all stages, each with a network for the mean and a learned variance a channel, at
    the start ``variance``, from 0.001 to 100.
    """

    reads_classifier = False

    def __init__(self, *, name: str, variance: float = 5.0, **weights: float) -> None:
        super().__init__(name=name, **weights)
        self.variance = number(f"distiller.{name}.variance", variance, low=1e-3, high=100)
        self.means = nn.ModuleList()

    def connect(self, teacher: NetworkOutputs, student: NetworkOutputs) -> None:
        """Build a network for the mean of each stage."""
        self.means = nn.ModuleList(
            MeanNetwork(map_s.shape[1], map_t.shape[1], variance=self.variance)
            for map_t, map_s in self.pairs(teacher, student)
        )

    def forward(self, teacher: NetworkOutputs, student: NetworkOutputs, step: Step) -> Tensor:
        """See `Distiller`."""
        losses = []
        for module, pair in zip(self.means, self.pairs(teacher, student), strict=True):
            mean = cast(MeanNetwork, module)
            map_t, map_s = one_size(*pair)
            losses.append(vid(map_t, mean(map_s), log_scale=mean.log_scale, eps=_EPS))
        return torch.stack(losses).sum()
