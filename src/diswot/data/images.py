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
        return self.normalize(self.fit(image))

    def fit(self, image: Tensor) -> Tensor:
        """Turn uint8 (C, H, W) into float32 (C, image_size, image_size) in [0, 1]."""
        return self._centre(self._resize(image.float() / 255))

    def normalize(self, images: Tensor) -> Tensor:
        """Turn (..., C, H, W) of [0, 1] into values of mean 0 and deviation 1 a channel."""
        mean = torch.tensor(self.mean)[:, None, None]
        std = torch.tensor(self.std)[:, None, None]
        return (images - mean) / std

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
        transform: turns a stored image into what a network is given.
    """

    def __init__(self, labels: Tensor, transform: EvalTransform) -> None:
        """Keep the labels, anything that converts to int64 of shape (N,), and the transform."""
        self.labels = labels.to(torch.int64)
        self.transform = transform

    def __len__(self) -> int:
        """Count the images."""
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Give normalised image ``index``, float32 (C, H, W), and its label."""
        return self.image(index), int(self.labels[index])

    @abstractmethod
    def pixels(self, index: int) -> Tensor:
        """Give image ``index`` as it is stored, uint8 (C, H, W)."""

    def image(self, index: int) -> Tensor:
        """Give normalised image ``index``, float32 (C, H, W)."""
        return self.transform(self.pixels(index))

    def fitted(self, indices: Tensor) -> Tensor:
        """Give images ``indices`` (B,) resized and cropped, (B, C, S, S): of [0, 1], or uint8."""
        return torch.stack([self.transform.fit(self.pixels(i)) for i in indices.tolist()])


class ArrayImages(LabelledImages):
    """Images held in memory."""

    def __init__(self, images: Tensor, labels: Tensor, transform: EvalTransform) -> None:
        """Keep uint8 images (N, C, H, W) and their labels (N,)."""
        super().__init__(labels, transform)
        self.images = images

    def pixels(self, index: int) -> Tensor:
        """Give image ``index`` as it is stored, uint8 (C, H, W)."""
        return self.images[index]

    def fitted(self, indices: Tensor) -> Tensor:
        """As the base class; whole batches of bytes where the stored size is the wanted one."""
        side = self.transform.image_size
        if self.images.shape[2:] == (side, side) and self.transform.crop == 1:
            return self.images[indices]
        return super().fitted(indices)
