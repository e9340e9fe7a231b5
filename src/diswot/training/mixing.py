"""Mixup and CutMix on a batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diswot.checks import number

__all__ = ["Mixed", "Mixing"]


@dataclass(frozen=True)
class Mixed:
    """A batch whose images may be mixtures of two.

    Attributes:
        images: ``(B, C, H, W)``.
        labels: Class of the first image of each mixture, ``(B,)``.
        others: Class of the second, ``(B,)``.
        share: Of the first image.
    """

    images: Tensor
    labels: Tensor
    others: Tensor
    share: float


class Mixing:
    """Mixup (Zhang et al., ICLR 2018) or CutMix (Yun et al., ICCV 2019), by turns if both are on.

    Args:
        mixup: α of the Beta distribution of shares; 0: off.
        cutmix: The same for CutMix.

    Raises:
        UserError: A negative α.
    """

    def __init__(self, mixup: float = 0.0, cutmix: float = 0.0) -> None:
        self.mixup = number("protocol.mixup", mixup, low=0)
        self.cutmix = number("protocol.cutmix", cutmix, low=0)

    def __bool__(self) -> bool:
        """Whether anything is mixed."""
        return bool(self.mixup or self.cutmix)

    def __call__(self, images: Tensor, labels: Tensor, draw: torch.Generator) -> Mixed:
        """Mix each image with another of the batch; one share for all of them."""
        if not self:
            return Mixed(images, labels, labels, 1.0)
        cut = bool(self.cutmix) and (not self.mixup or _uniform(draw) < 0.5)
        share = _beta(self.cutmix if cut else self.mixup, draw)
        partner = torch.randperm(len(images), generator=draw).to(labels.device)
        if cut:
            images, share = _cut(images, images[partner], share, draw)
        else:
            images = torch.lerp(images[partner], images, share)
        return Mixed(images, labels, labels[partner], share)


def _cut(
    images: Tensor, others: Tensor, share: float, draw: torch.Generator
) -> tuple[Tensor, float]:
    """Put one rectangle of the others into the images; the share of what is left of the images."""
    height, width = images.shape[2:]
    side = (1 - share) ** 0.5
    centre_y, centre_x = _uniform(draw) * height, _uniform(draw) * width
    top, bottom = (
        min(max(round(centre_y + sign * side * height / 2), 0), height) for sign in (-1, 1)
    )
    left, right = (
        min(max(round(centre_x + sign * side * width / 2), 0), width) for sign in (-1, 1)
    )
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = others[:, :, top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)


def _uniform(draw: torch.Generator) -> float:
    return torch.rand((), generator=draw).item()


def _beta(alpha: float, draw: torch.Generator) -> float:
    concentration = torch.full((2,), alpha, dtype=torch.float64)
    gammas = torch._standard_gamma(concentration, generator=draw)
    return float(gammas[0] / gammas.sum()) if gammas.sum() > 0 else 1.0
