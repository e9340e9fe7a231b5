"""Distillation along the stages: what one stage has seen is fused into the next, or flows to it."""

from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diswot.checks import choice, whole
from diswot.distillers import Distiller, Step
from diswot.distillers.functional import fitnet, fsp_matrix, reviewkd
from diswot.distillers.maps import CONNECTORS, stage_connectors
from diswot.models.outputs import NetworkOutputs

_WIDEST = 512


class Fusion(nn.Module):
    """Attention-based fusion of a stage's map with what the deeper stages gave.

    1 x 1 convolution and BatchNorm to ``width`` channels; the sum of both, each weighed by its own
    map of a 1 x 1 convolution and sigmoid over the two (not for the ``deepest``, which has none
    below); 3 x 3 convolution and BatchNorm to ``out_channels``, the teacher's width.
    """

    def __init__(self, in_channels: int, width: int, out_channels: int, *, deepest: bool) -> None:
        super().__init__()
        first = nn.Conv2d(in_channels, width, 1, bias=False)
        last = nn.Conv2d(width, out_channels, 3, padding=1, bias=False)
        for convolution in (first, last):
            nn.init.kaiming_uniform_(convolution.weight, a=1)
        self.conv1 = nn.Sequential(first, _BatchNorm(width))
        self.conv2 = nn.Sequential(last, _BatchNorm(out_channels))
        self.attention = None if deepest else nn.Conv2d(2 * width, 2, 1)

    def forward(
        self, maps: Tensor, deeper: Tensor | None, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """The map to be compared, ``(B, out_channels, *size)``, and that for the next fusion.

        ``maps`` are ``(B, in_channels, H, W)``, ``deeper`` ``(B, width, H', W')``.
        """
        fused = self.conv1(maps)
        if self.attention is not None and deeper is not None:
            deeper = _resized(deeper, (maps.shape[2], maps.shape[3]))
            attention = self.attention(torch.cat([fused, deeper], dim=1)).sigmoid()
            fused = fused * attention[:, :1] + deeper * attention[:, 1:]
        fused = _resized(fused, size)
        return cast(Tensor, self.conv2(fused)), fused


class ReviewKD(Distiller):
    """The teacher's maps are met by fusions of the student's with deeper ones, see `functional`.

    Compared are the preactivations of all stages and the embeddings, as maps of one pixel. In the
    first ``warmup`` epochs (0: none) the loss is multiplied by ``(epoch + 1) / warmup``, as in
    mdistiller, which counts epochs from 1.
    """

    reads_classifier = False

    def __init__(self, *, name: str, warmup: int = 20, **weights: float) -> None:
        super().__init__(name=name, **weights)
        self.warmup = whole(f"distiller.{name}.warmup", warmup, least=0)
        self.fusions = nn.ModuleList()

    def connect(self, teacher: NetworkOutputs, student: NetworkOutputs) -> None:
        """Build the fusions, the deepest first."""
        width = min(_WIDEST, student.embedding.shape[1])
        for place, (map_t, map_s) in enumerate(self._reviewed(teacher, student)):
            widths = map_s.shape[1], width, map_t.shape[1]
            self.fusions.append(Fusion(*widths, deepest=not place))

    def forward(self, teacher: NetworkOutputs, student: NetworkOutputs, step: Step) -> Tensor:
        """See `Distiller`."""
        losses, deeper = [], None
        for fusion, pair in zip(self.fusions, self._reviewed(teacher, student), strict=True):
            map_t, map_s = pair
            fused, deeper = fusion(map_s, deeper, (map_t.shape[2], map_t.shape[3]))
            losses.append(reviewkd(map_t, fused))
        return torch.stack(losses).sum() * min((step.epoch + 1) / max(self.warmup, 1), 1.0)

    def _reviewed(
        self, teacher: NetworkOutputs, student: NetworkOutputs
    ) -> list[tuple[Tensor, Tensor]]:
        """Embeddings and stages, the deepest first."""
        pooled = (outputs.embedding[:, :, None, None] for outputs in (teacher, student))
        return [
            cast("tuple[Tensor, Tensor]", tuple(pooled)),
            *self.pairs(teacher, student, before=True)[::-1],
        ]


class FSP(Distiller):
    """Squared error of the flow between consecutive stages: ``Σ mean (G_T − G_S)²``.

    G is `functional.fsp_matrix`. Flows are added over stages, as in RepDistiller. Where widths
    differ, which the method has no answer for, a 1 x 1 convolution and BatchNorm follow the
    student's map.
    """

    reads_classifier = False

    def __init__(self, *, name: str, connector: str = "auto", **weights: float) -> None:
        super().__init__(name=name, **weights)
        self.connector = choice(f"distiller.{name}.connector", connector, CONNECTORS)
        self.connectors = nn.ModuleList()

    def connect(self, teacher: NetworkOutputs, student: NetworkOutputs) -> None:
        """Build the connectors; refuse networks with a single stage in common."""
        pairs = self.pairs(teacher, student)
        if len(pairs) < 2:
            raise self.refusal("two stages", *pairs[0], "maps")
        self.connectors = stage_connectors(pairs, self.connector)

    def forward(self, teacher: NetworkOutputs, student: NetworkOutputs, step: Step) -> Tensor:
        """See `Distiller`."""
        maps_t, maps_s = zip(*self.pairs(teacher, student), strict=True)
        maps_s = tuple(c(maps) for c, maps in zip(self.connectors, maps_s, strict=True))
        flows_t, flows_s = (
            [fsp_matrix(*two) for two in pairwise(maps)] for maps in (maps_t, maps_s)
        )
        return torch.stack([fitnet(*two) for two in zip(flows_t, flows_s, strict=True)]).sum()


class _BatchNorm(nn.BatchNorm2d):
    """By its running statistics where a channel has a single value, which has no deviation."""

    def forward(self, maps: Tensor) -> Tensor:
        if not self.training or maps.numel() > maps.shape[1]:
            return super().forward(maps)
        affine = self.running_mean, self.running_var, self.weight, self.bias
        return F.batch_norm(maps, *affine, eps=self.eps)


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps ``(B, C, H, W)`` in another size, by the nearest pixels."""
    return maps if maps.shape[2:] == size else F.interpolate(maps, size, mode="nearest")
