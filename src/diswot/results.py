"""What the Python API gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from diswot.models.cost import Cost

__all__ = ["Score", "SearchResult", "TrainResult"]


@dataclass(frozen=True)
class Score:
    """What the proxies say of one architecture.

    Attributes:
        arch: Canonical text.
        value: Fitness, by the first proxy; higher is better.
        parts: Its parts.
        others: Score of every further proxy.
        cost: Parameters, multiply-accumulates and layers.
    """

    arch: str
    value: float
    parts: dict[str, float]
    others: dict[str, float]
    cost: Cost


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        arch: The best architecture.
        score: Its fitness.
        params: Its trainable parameters.
        flops: Its multiply-accumulates of one image.
        top: The best candidates, best first, as in ``result.json``.
        summary: All of ``result.json``.
        config: The resolved config.
    """

    arch: str
    score: float
    params: int
    flops: int
    top: list[dict[str, Any]]
    summary: dict[str, Any]
    config: dict[str, Any]

    def build(self, num_classes: int | None = None, in_channels: int = 3) -> nn.Module:
        """The student, freshly initialised by torch's defaults: ready to be trained.

        Args:
            num_classes: By default the search's.
            in_channels: Channels of the images.

        Returns:
            A module whose ``forward`` gives logits ``(B, num_classes)``.
        """
        from diswot.config import make
        from diswot.spaces.base import Space

        space = make(self.config["space"], "space", Space)  # type: ignore[type-abstract]
        classes = num_classes or self.summary["num_classes"]
        return space.build(space.parse(self.arch), num_classes=classes, in_channels=in_channels)


@dataclass(frozen=True)
class TrainResult:
    """What a training gave.

    Attributes:
        student: The trained network, on the CPU, in eval mode.
        test_top1: Its accuracy on the test images, percent.
        params: Its trainable parameters.
        flops: Its multiply-accumulates of one image.
        summary: All of ``result.json``.
        config: The resolved config.
    """

    student: nn.Module
    test_top1: float
    params: int
    flops: int
    summary: dict[str, Any]
    config: dict[str, Any]
