"""Noise for scores that need no data: images from N(0, 1) and labels at random."""

from typing import Unpack

import torch
from torch import Tensor

from diswot import checks
from diswot.data.base import ImageData, LoaderSettings, Split
from diswot.data.images import EvalTransform, LabelledImages
from diswot.keys import generator

__all__ = ["GaussianData", "GaussianImages"]


class GaussianImages(LabelledImages):
    """Images drawn when asked for; image ``i`` of a split is always the same one."""

    def __init__(self, split: Split, length: int, num_classes: int, shape: tuple[int, ...]) -> None:
        """Draw the labels of ``length`` images of ``shape`` (C, H, W)."""
        labels = torch.randint(
            num_classes, (length,), generator=generator("gaussian-labels", split)
        )
        channels = shape[0]
        super().__init__(labels, EvalTransform(shape[1], (0.0,) * channels, (1.0,) * channels))
        self.split = split
        self.shape = shape

    def image(self, index: int) -> Tensor:
        """Draw image ``index``; it needs no normalising."""
        return self.pixels(index)

    def fitted(self, indices: Tensor) -> Tensor:
        """Draw the images ``indices`` (B,), float32 (B, C, H, W)."""
        return torch.stack([self.pixels(index) for index in indices.tolist()])

    def pixels(self, index: int) -> Tensor:
        """Draw image ``index`` from N(0, 1), float32 (C, H, W)."""
        return torch.randn(self.shape, generator=generator("gaussian-image", self.split, index))


class GaussianData(ImageData):
    """Noise images with uniformly random labels."""

    def __init__(
        self,
        *,
        num_classes: int,
        image_size: int,
        in_channels: int = 3,
        length: int = 10_000,
        **settings: Unpack[LoaderSettings],
    ) -> None:
        """Check and keep the settings.

        Args:
            num_classes: number of classes.
            image_size: height and width in pixels.
            in_channels: channels of an image.
            length: images of a split.
            **settings: those of :class:`ImageData`.
        """
        super().__init__(
            name="gaussian",
            num_classes=num_classes,
            in_channels=in_channels,
            image_size=image_size,
            mean=(0.0,),
            std=(1.0,),
            **settings,
        )
        self.length = checks.whole("data.length", length, 1)

    def load(self, split: Split) -> GaussianImages:
        """Draw the labels of one split."""
        shape = (self.in_channels, self.image_size, self.image_size)
        return GaussianImages(split, self.length, self.num_classes, shape)
