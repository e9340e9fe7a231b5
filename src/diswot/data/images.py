"""Map-style image data sets and the transform of evaluation."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.utils.data import Dataset

__all__ = ["ArrayImages", "EvalTransform", "LabelledImages"]


@dataclass(frozen=True)
class EvalTransform:
    """Resize the short side, cut out the centre, normalise.

    Attributes:
        image_size: height and width of the result in pixels.
        mean: mean of each channel, of values in [0, 1].
        std: standard deviation of each channel, of values in [0, 1].
        crop: share of the resized short side that is kept (ImageNet: 0.875 = 224 / 256).
    """

    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop: float = 1.0

    def __call__(self, image: Tensor) -> Tensor:
        """Turn uint8 (C, H, W) into normalised float32 (C, image_size, image_size)."""
        image = self._centre(self._resize(image.float() / 255))
        mean = torch.tensor(self.mean)[:, None, None]
        std = torch.tensor(self.std)[:, None, None]
        return (image - mean) / std

    def _resize(self, image: Tensor) -> Tensor:
        height, width = image.shape[1:]
        short, target = min(height, width), round(self.image_size / self.crop)
        if short == target:
            return image
        size = (target * height // short, target * width // short)
        return F.interpolate(image[None], size, mode="bilinear", antialias=True)[0]

    def _centre(self, image: Tensor) -> Tensor:
        top, left = ((side - self.image_size) // 2 for side in image.shape[1:])
        return image[:, top : top + self.image_size, left : left + self.image_size]


class LabelledImages(Dataset[tuple[Tensor, int]], ABC):
    """Images by index, with the labels at hand without decoding any of them.

    Attributes:
        labels: class indices, int64 of shape (N,).
    """

    def __init__(self, labels: Tensor) -> None:
        """Keep the labels; anything that converts to int64 of shape (N,) will do."""
        self.labels = labels.to(torch.int64)

    def __len__(self) -> int:
        """Count the images."""
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Give normalised image ``index``, float32 (C, H, W), and its label."""
        return self.image(index), int(self.labels[index])

    @abstractmethod
    def image(self, index: int) -> Tensor:
        """Give normalised image ``index``, float32 (C, H, W)."""


class ArrayImages(LabelledImages):
    """Images held in memory."""

    def __init__(self, images: Tensor, labels: Tensor, transform: EvalTransform) -> None:
        """Keep uint8 images (N, C, H, W) and their labels (N,)."""
        super().__init__(labels)
        self.images = images
        self.transform = transform

    def image(self, index: int) -> Tensor:
        """Give normalised image ``index``, float32 (C, H, W)."""
        return self.transform(self.images[index])
