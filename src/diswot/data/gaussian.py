"""Noise for scores that need no data: images from N(0, 1) and labels at random."""

from typing import Any

import torch
from torch import Tensor

from diswot import checks
from diswot.data.base import EvalTransform, ImageData, LabelledImages, Split
from diswot.keys import generator


class GaussianData(ImageData):
    """Noise images with uniformly random labels; ``length`` of them are a split."""

    def __init__(
        self,
        *,
        num_classes: int,
        image_size: int,
        in_channels: int = 3,
        length: int = 10_000,
        **settings: Any,
    ) -> None:
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

    def load(self, split: Split) -> "GaussianImages":
        """Draw the labels of one split."""
        draw = generator("gaussian-labels", split)
        labels = torch.randint(self.num_classes, (self.length,), generator=draw)
        return GaussianImages(split, labels, self.in_channels, self.transform)


class GaussianImages(LabelledImages):
    """Images drawn when asked for; image ``i`` of a split is always the same one."""

    def __init__(
        self, split: Split, labels: Tensor, channels: int, transform: EvalTransform
    ) -> None:
        super().__init__(labels, transform)
        self.split = split
        self.shape = (channels, transform.image_size, transform.image_size)

    def pixels(self, index: int) -> Tensor:
        """Draw image ``index`` from N(0, 1), float32 (C, H, W), which is normalised already."""
        return torch.randn(self.shape, generator=generator("gaussian-image", self.split, index))

    image = pixels

    def fitted(self, indices: Tensor) -> Tensor:
        """Draw the images ``indices`` (B,), float32 (B, C, H, W)."""
        return torch.stack([self.pixels(index) for index in indices.tolist()])
