"""Labelled images by index, their decoding, and the transform of evaluation."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset

from diswot.errors import UserError

__all__ = ["ArrayImages", "EvalTransform", "LabelledImages", "decode"]


@dataclass(frozen=True)
class EvalTransform:
    """Resize the short side, cut out the centre, normalise.

    Attributes:
        image_size: height and width of the result in pixels.
        mean, std: mean and standard deviation of each channel, of values in [0, 1].
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
        image = image.float() / 255
        height, width = image.shape[1:]
        short, target = min(height, width), round(self.image_size / self.crop)
        if short != target:
            size = (target * height // short, target * width // short)
            image = F.interpolate(image[None], size, mode="bilinear", antialias=True)[0]
        top, left = ((side - self.image_size) // 2 for side in image.shape[1:])
        return image[:, top : top + self.image_size, left : left + self.image_size]

    def normalize(self, images: Tensor) -> Tensor:
        """Turn (..., C, H, W) of [0, 1] into values of mean 0 and deviation 1 a channel."""
        mean = torch.tensor(self.mean)[:, None, None]
        std = torch.tensor(self.std)[:, None, None]
        return (images - mean) / std


class LabelledImages(Dataset[tuple[Tensor, int]], ABC):
    """Images by index, with their ``labels``, int64 (N,), at hand without decoding any."""

    def __init__(self, labels: Tensor, transform: EvalTransform) -> None:
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
    """Images held in memory: uint8 (N, C, H, W)."""

    def __init__(self, images: Tensor, labels: Tensor, transform: EvalTransform) -> None:
        super().__init__(labels, transform)
        self.images = images

    def pixels(self, index: int) -> Tensor:
        """See :class:`LabelledImages`."""
        return self.images[index]

    def fitted(self, indices: Tensor) -> Tensor:
        """As the base class; whole batches of bytes where the stored size is the wanted one."""
        side = self.transform.image_size
        if self.images.shape[2:] == (side, side) and self.transform.crop == 1:
            return self.images[indices]
        return super().fitted(indices)


def decode(
    file: str | BytesIO, name: str, advice: str, formats: tuple[str, ...] | None = None
) -> Tensor:
    """Decode an image file: RGB, uint8 (3, H, W).

    Raises:
        UserError: the file is damaged or no image; ``name`` begins the message, ``advice`` ends it.
    """
    try:
        with Image.open(file, formats=formats) as image:
            return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        unknown = isinstance(error, UnidentifiedImageError)
        problem = "its header cannot be read" if unknown else error
        raise UserError(f"{name} ({problem}); {advice}") from error
