"""Fashion-MNIST (Xiao et al. 2017, arXiv:1708.07747): the embedded subset and the whole.

Images of 28x28 are padded with black to 32x32 and repeated to 3 channels, so that networks
made for CIFAR take them.
"""

from io import BytesIO
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from numpy.typing import NDArray

from diswot import _torchvision, checks
from diswot.data._assets import read_asset
from diswot.data._download import download
from diswot.data._idx import read_idx
from diswot.data.base import ImageData, ImageSettings, Split
from diswot.data.images import ArrayImages
from diswot.errors import UserError

__all__ = ["FashionMini", "FashionMnist"]

_SIDE, _PADDING = 28, 2
_MINI_OF_CLASS = 1000  # the subset has the first of every class, in file order
_PREFIX: dict[Split, str] = {"train": "train", "test": "t10k"}


class _Fashion(ImageData):
    def __init__(
        self, *, name: str, root: Path | None = None, **settings: Unpack[ImageSettings]
    ) -> None:
        super().__init__(name=name, num_classes=10, in_channels=3, root=root, **settings)

    def _pack(self, images: NDArray[np.uint8], labels: NDArray[Any]) -> ArrayImages:
        margin = (_PADDING, _PADDING)
        padded = torch.from_numpy(np.pad(images, ((0, 0), margin, margin)))
        colour = padded[:, None].expand(-1, 3, -1, -1)
        return ArrayImages(colour, torch.tensor(labels), self.transform)


class FashionMini(_Fashion):
    """The subset that comes with the package: 10,000 + 2,000 images, class-balanced."""

    def __init__(self, **settings: Unpack[ImageSettings]) -> None:
        """Check and keep the settings, those of :class:`ImageData`."""
        super().__init__(name="fashion_mini", **settings)

    def load(self, split: Split) -> ArrayImages:
        """Read one split from the package."""
        with np.load(BytesIO(read_asset("fashion_mini.npz")), allow_pickle=False) as arrays:
            return self._pack(arrays[f"x_{split}"], arrays[f"y_{split}"])


class FashionMnist(_Fashion):
    """All 60,000 + 10,000 images, from the four idx files (``.gz`` or unpacked)."""

    root: Path

    def __init__(
        self,
        *,
        root: str | Path = "data",
        download: bool = False,
        outside_mini: bool = False,
        **settings: Unpack[ImageSettings],
    ) -> None:
        """Check and keep the settings.

        Args:
            root: folder of the idx files; torchvision's ``FashionMNIST/raw`` below it serves too.
            download: fetch files that are missing.
            outside_mini: train on the 50,000 images alone that :class:`FashionMini` lacks, so that
                a teacher has not seen what its students learn from.
            **settings: those of :class:`ImageData`.
        """
        super().__init__(name="fashion_mnist", root=Path(root).expanduser(), **settings)
        self.download = checks.flag("data.download", download)
        self.outside_mini = checks.flag("data.outside_mini", outside_mini)

    def prepare_data(self) -> None:
        """Fetch the files that are missing, if that is asked for."""
        if not self.download:
            return
        _torchvision.ensure()
        from torchvision.datasets import FashionMNIST

        for filename, md5 in FashionMNIST.resources:
            if self._find(filename.removesuffix(".gz")) is None:
                download(FashionMNIST.mirrors[0] + filename, self._raw, filename, md5)

    def load(self, split: Split) -> ArrayImages:
        """Read one split from its idx files."""
        images = read_idx(self._path(f"{_PREFIX[split]}-images-idx3-ubyte"), dims=3)
        labels = read_idx(self._path(f"{_PREFIX[split]}-labels-idx1-ubyte"), dims=1)
        if images.shape != (len(labels), _SIDE, _SIDE):
            raise UserError(
                f"data.root: the {split} images in {self.root} have the shape {images.shape}; "
                f"{len(labels)} labels go with {(len(labels), _SIDE, _SIDE)}"
            )
        if self.outside_mini and split == "train":
            kept = _after_first_of_each_class(labels, _MINI_OF_CLASS)
            images, labels = images[kept], labels[kept]
        return self._pack(images, labels)

    @property
    def _raw(self) -> Path:
        return self.root / "FashionMNIST" / "raw"

    def _find(self, stem: str) -> Path | None:
        places = (
            folder / f"{stem}{end}" for folder in (self.root, self._raw) for end in ("", ".gz")
        )
        return next((path for path in places if path.is_file()), None)

    def _path(self, stem: str) -> Path:
        path = self._find(stem)
        if path is None:
            raise UserError(
                f"data.root: {self.root} holds no {stem}[.gz]; give the folder of Fashion-MNIST's "
                "idx files, or data.download=true"
            )
        return path


def _after_first_of_each_class(labels: NDArray[Any], count: int) -> NDArray[np.intp]:
    """Indices of all but the first ``count`` images of every class, in file order."""
    later = [np.flatnonzero(labels == label)[count:] for label in np.unique(labels)]
    return np.sort(np.concatenate(later))
