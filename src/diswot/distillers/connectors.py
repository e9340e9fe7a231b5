"""What distillers put between student and teacher, and how they pair the stages of both."""

from __future__ import annotations

from math import expm1, log
from typing import Literal, cast

import torch
from torch import Tensor, nn

from diswot.errors import UserError
from diswot.models.outputs import NetworkOutputs

__all__ = ["CONNECTORS", "MeanNetwork", "Projection", "paired_stages", "refusal", "same_classes"]

CONNECTORS = ("always", "auto")
"""Whether a projection is there always, as published, or only where widths differ."""


class Projection(nn.Module):
    """1 x 1 convolution and BatchNorm, then a ReLU where the map it is compared with had one.

    Args:
        in_channels: The student's width.
        out_channels: The teacher's width.
        bias: Whether the convolution has one.
        relu: Whether a ReLU follows.
    """

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool, relu: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=bias)
        self.bn = nn.BatchNorm2d(out_channels)
        self.activation = nn.ReLU() if relu else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        """Map ``(B, out_channels, H, W)`` of ``(B, in_channels, H, W)``."""
        return cast(Tensor, self.activation(self.bn(self.conv(maps))))


class MeanNetwork(nn.Module):
    """Mean and log-scale of VID: three 1 x 1 convolutions without bias, a scale a channel.

    Args:
        in_channels: The student's width.
        out_channels: The teacher's width, also between the convolutions.
        variance: Of every channel at the start.
        eps: Least variance, below ``variance``.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, variance: float = 5.0, eps: float = 1e-5
    ) -> None:
        super().__init__()
        self.regressor = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(out_channels, out_channels, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(out_channels, out_channels, 1, bias=False),
        )
        self.log_scale = nn.Parameter(torch.full((out_channels,), log(expm1(variance - eps))))

    def forward(self, maps: Tensor) -> Tensor:
        """Mean ``(B, out_channels, H, W)`` of ``(B, in_channels, H, W)``."""
        return cast(Tensor, self.regressor(maps))


def paired_stages(
    name: str, teacher: NetworkOutputs, student: NetworkOutputs
) -> list[tuple[Tensor, Tensor]]:
    """Stage maps of teacher and student, the last with the last; the first of more are left out.

    Args:
        name: The distiller's, for the message.
        teacher: Its stage maps.
        student: Its stage maps.

    Raises:
        UserError: One of them shows no stages.
    """
    count = min(len(teacher.stages), len(student.stages))
    if not count:
        raise UserError(
            f"distiller.{name} reads feature maps: the teacher shows {len(teacher.stages)} "
            f"stages, the student {len(student.stages)}; a distiller of logits needs none"
        )
    return list(zip(teacher.stages[-count:], student.stages[-count:], strict=True))


def same_classes(name: str, teacher: NetworkOutputs, student: NetworkOutputs) -> None:
    """Refuse networks of another number of classes.

    Raises:
        UserError: They differ.
    """
    if teacher.logits.shape != student.logits.shape:
        raise refusal(name, "networks of one number of classes", teacher.logits, student.logits)


def refusal(
    name: str,
    needs: str,
    teacher: Tensor,
    student: Tensor,
    shown: Literal["logits", "maps", "embeddings"] = "logits",
) -> UserError:
    """What to raise for a pair of networks a distiller cannot serve."""
    return UserError(
        f"distiller.{name} needs {needs}: teacher {shown} {tuple(teacher.shape)}, "
        f"student {tuple(student.shape)}"
    )
