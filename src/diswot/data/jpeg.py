"""JPEG files one after another in one array, the compact form of a ``.npz`` data set."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from diswot.data.images import EvalTransform, LabelledImages
from diswot.errors import UserError

__all__ = ["SMALL", "JpegImages", "Jpegs", "decode_small"]

SMALL = 64
"""Images of one size up to this many pixels a side are decoded once, when they are loaded."""

_START = (0xFF, 0xD8)  # what every JPEG file begins with
_DAMAGE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


@dataclass(frozen=True)
class Jpegs:
    """JPEG files by index.

    Attributes:
        source: setting and file they come from, for messages.
        content: the files one after another, uint8 of shape (bytes,).
        offsets: where each begins, and where the last one ends, int64 of shape (N + 1,).
    """

    source: str
    content: NDArray[np.uint8]
    offsets: NDArray[np.int64]

    @classmethod
    def checked(cls, source: str, content: NDArray[Any], offsets: NDArray[Any]) -> Jpegs:
        """Make one of arrays that may be anything.

        Raises:
            ValueError: they are not as the attributes say, or a file does not begin as a JPEG.
        """
        if content.dtype != np.uint8 or content.ndim != 1:
            raise ValueError(f"bytes is {content.dtype} {content.shape}, not uint8 in a row")
        if not np.issubdtype(offsets.dtype, np.integer) or offsets.ndim != 1 or len(offsets) < 2:
            raise ValueError(
                f"offsets is {offsets.dtype} {offsets.shape}, not 2 or more whole numbers"
            )
        offsets = offsets.astype(np.int64)
        if offsets[0] != 0 or offsets[-1] != len(content):
            raise ValueError(
                f"offsets runs from {offsets[0]} to {offsets[-1]}, not from 0 to {len(content)}, "
                "the length of bytes"
            )
        _check_starts(content, offsets)
        return cls(source, content, offsets)

    def __len__(self) -> int:
        """Count the files."""
        return len(self.offsets) - 1

    def open(self, index: int) -> Image.Image:
        """Read the header of file ``index``; its size is known then, its pixels are not.

        Raises:
            UserError: it is no JPEG.
        """
        start, end = self.offsets[index : index + 2]
        try:
            return Image.open(BytesIO(self.content[start:end].tobytes()), formats=("JPEG",))
        except _DAMAGE as error:
            raise self._unreadable(index, "its header cannot be read") from error

    def decode(self, index: int) -> NDArray[np.uint8]:
        """Decode file ``index``: RGB, uint8 (H, W, 3).

        Raises:
            UserError: it is damaged.
        """
        with self.open(index) as image:
            try:
                return np.array(image.convert("RGB"))
            except _DAMAGE as error:
                raise self._unreadable(index, str(error)) from error

    def _unreadable(self, index: int, problem: str) -> UserError:
        return UserError(
            f"{self.source}: image {index} is not a readable JPEG ({problem}); "
            "make or fetch the file again"
        )


class JpegImages(LabelledImages):
    """JPEG files held in memory, decoded one by one when asked for."""

    def __init__(self, jpegs: Jpegs, labels: Tensor, transform: EvalTransform) -> None:
        """Keep the files and their labels (N,)."""
        super().__init__(labels, transform)
        self.jpegs = jpegs

    def pixels(self, index: int) -> Tensor:
        """Decode image ``index``: RGB, uint8 (3, H, W).

        Raises:
            UserError: the file is damaged.
        """
        return torch.from_numpy(self.jpegs.decode(index)).permute(2, 0, 1)


def decode_small(jpegs: Jpegs) -> NDArray[np.uint8] | None:
    """Decode all files into (N, 3, H, W) if they have one size of at most ``SMALL``, else None.

    About 0.1 ms an image of 32x32 on one core: 5 s for the 50,000 of CIFAR-10.

    Raises:
        UserError: a file is damaged.
    """
    width, height = jpegs.open(0).size
    if max(width, height) > SMALL:
        return None
    images = np.empty((len(jpegs), 3, height, width), np.uint8)
    for index in range(len(jpegs)):
        decoded = jpegs.decode(index)
        if decoded.shape != (height, width, 3):
            return None
        images[index] = decoded.transpose(2, 0, 1)
    return images


def _check_starts(content: NDArray[np.uint8], offsets: NDArray[np.int64]) -> None:
    sizes = np.diff(offsets)
    if (sizes < len(_START)).any():
        place = int((sizes < len(_START)).argmax())
        raise ValueError(
            f"offsets[{place + 1}]={offsets[place + 1]} does not lie {len(_START)} or more "
            f"beyond offsets[{place}]={offsets[place]}"
        )
    starts = offsets[:-1]
    wrong = (content[starts] != _START[0]) | (content[starts + 1] != _START[1])
    if wrong.any():
        place = int(wrong.argmax())
        raise ValueError(f"no JPEG begins at offsets[{place}]={offsets[place]}")
