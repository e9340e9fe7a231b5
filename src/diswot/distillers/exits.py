"""Exits: classifiers of the maps of a student's stages, which distillers learn and throw away."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from diswot.checks import positive
from diswot.distillers import Distiller, Step
from diswot.distillers.functional import ofa
from diswot.distillers.schedules import Given, at_epoch, scheduled
from diswot.models.outputs import NetworkOutputs


def separable(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    """Depthwise 3 x 3 and pointwise convolution, BatchNorm, ReLU, twice; the first has the stride.

    Source: the branches of OFA-KD, as released.
    """

    def half(out: int, step: int) -> list[nn.Module]:
        depthwise = nn.Conv2d(
            in_channels, in_channels, 3, step, padding=1, groups=in_channels, bias=False
        )
        pointwise = nn.Conv2d(in_channels, out, 1, bias=False)
        return [depthwise, pointwise, nn.BatchNorm2d(out), nn.ReLU()]

    return nn.Sequential(*half(in_channels, stride), *half(out_channels, 1))


class Exit(nn.Module):
    """Classifies the map of a stage: `separable` convolutions, an average, and a linear layer.

    There is one for each later stage. It halves the map where that is larger than the last stage's,
    and doubles the channels up to ``width``, which the last one gives. After the last stage there
    is a 1 x 1 convolution.

    Args:
        maps: Those of the stage and all later ones, ``(B, C, H, W)``, for their shapes.
        width: Channels of what is averaged.
        classes: Columns of the logits.
    """

    def __init__(self, maps: Sequence[Tensor], width: int, classes: int) -> None:
        super().__init__()
        channels, side = maps[0].shape[1], maps[0].shape[-1]
        last = max(maps[-1].shape[-1], 2)  # a single image has to have statistics for BatchNorm
        convolutions: list[nn.Module] = []
        for left in range(len(maps) - 2, -1, -1):
            wider, stride = min(2 * channels, width) if left else width, 1 + (side > last)
            convolutions.append(separable(channels, wider, stride))
            channels, side = wider, -(-side // stride)
        if not convolutions:
            convolutions.append(nn.Conv2d(channels, width, 1))
        self.convolutions = nn.Sequential(*convolutions)
        self.classifier = nn.Linear(width, classes)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Its own map ``(B, width, h, w)`` and logits ``(B, K)``."""
        own = cast(Tensor, self.convolutions(maps))
        return own, cast(Tensor, self.classifier(own.mean((2, 3))))


class OFA(Distiller):
    """One-for-all: the student and an exit after each of its stages learn, see `functional.ofa`.

    ``loss = ofa(z_T, z_S) + Σ_i ofa(z_T, z_i)``. Maps of teacher and student are never compared, so
    that any two architectures go together. The release gives transformers exits of attention; here
    all exits are convolutions, as wide as the wider of both embeddings.
    """

    needs_labels = True

    def __init__(
        self, *, name: str, eps: float = 1.0, temperature: Given = 1.0, **weights: float
    ) -> None:
        super().__init__(name=name, **weights)
        self.eps = positive(f"distiller.{name}.eps", eps)
        self.temperature = scheduled(f"distiller.{name}.temperature", temperature, positive)
        self.exits = nn.ModuleList()

    def connect(self, teacher: NetworkOutputs, student: NetworkOutputs) -> None:
        """Build the exits."""
        self.check_classes(teacher, student)
        self.pairs(student, student)
        width = max(teacher.embedding.shape[1], student.embedding.shape[1])
        maps, classes = student.stages, student.logits.shape[1]
        self.exits.extend(Exit(maps[i:], width, classes) for i in range(len(maps)))

    def forward(self, teacher: NetworkOutputs, student: NetworkOutputs, step: Step) -> Tensor:
        """See `Distiller`."""
        temperature = at_epoch(self.temperature, step.epoch)
        left = [each(maps)[1] for each, maps in zip(self.exits, student.stages, strict=True)]
        losses = [
            ofa(teacher.logits, logits, labels=step.labels, eps=self.eps, temperature=temperature)
            for logits in (student.logits, *left)
        ]
        return torch.stack(losses).sum()
