"""Fashion-MNIST (Xiao et al. 2017, arXiv:1708.07747): the embedded subset and the whole.

Images of 28x28 are padded with black to 32x32 and repeated to 3 channels, so that networks
made for CIFAR take them.
"""

import zlib
from http.client import HTTPException
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from diswot import _torchvision, checks
from diswot.data.base import ArrayImages, ImageData, Split, read_asset
from diswot.errors import UserError

_MINI_OF_CLASS = 1000  # the subset has the first of every class, in file order


class FashionMini(ImageData):
    """The subset that comes with the package: 10,000 + 2,000 images, class-balanced."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(name="fashion_mini", num_classes=10, in_channels=3, **settings)

    def load(self, split: Split) -> ArrayImages:
        """Read one split from the package."""
        with np.load(BytesIO(read_asset("fashion_mini.npz")), allow_pickle=False) as arrays:
            images, labels = (torch.from_numpy(arrays[f"{kind}_{split}"]) for kind in "xy")
        return ArrayImages(_coloured(images), labels, self.transform)


class FashionMnist(ImageData):
    """All 60,000 + 10,000 images, from the four idx files (``.gz`` or unpacked).

    Args:
        root: folder of the idx files; torchvision's ``FashionMNIST/raw`` below it serves too.
        download: have torchvision fetch the files if one is missing.
        outside_mini: train on the 50,000 images alone that :class:`FashionMini` lacks, so that
            a teacher has not seen what its students learn from.
    """

    root: Path

    def __init__(
        self,
        *,
        root: str | Path = "data",
        download: bool = False,
        outside_mini: bool = False,
        **settings: Any,
    ) -> None:
        path = Path(root).expanduser()
        super().__init__(name="fashion_mnist", num_classes=10, in_channels=3, root=path, **settings)
        self.download = checks.flag("data.download", download)
        self.outside_mini = checks.flag("data.outside_mini", outside_mini)

    def load(self, split: Split) -> ArrayImages:
        """Read one split from its idx files."""
        prefix = "train" if split == "train" else "t10k"
        images = read_idx(self._path(f"{prefix}-images-idx3-ubyte"))
        labels = read_idx(self._path(f"{prefix}-labels-idx1-ubyte"))
        if images.shape != (expected := (len(labels), 28, 28)):
            raise UserError(
                f"data.root: the {split} images in {self.root} have the shape {tuple(images.shape)}"
                f"; {len(labels)} labels go with {expected}"
            )
        if self.outside_mini and split == "train":
            later = [(labels == label).nonzero()[_MINI_OF_CLASS:] for label in torch.unique(labels)]
            kept = torch.cat(later).flatten().sort().values
            images, labels = images[kept], labels[kept]
        return ArrayImages(_coloured(images), labels, self.transform)

    def _path(self, stem: str) -> Path:
        raw = self.root / "FashionMNIST" / "raw"
        places = [folder / f"{stem}{end}" for folder in (self.root, raw) for end in ("", ".gz")]
        path = next((path for path in places if path.is_file()), None)
        if path is not None:
            return path
        if not self.download:
            raise UserError(
                f"data.root: {self.root} holds no {stem}[.gz]; give the folder of Fashion-MNIST's "
                "idx files, or data.download=true"
            )
        _torchvision.ensure()
        from torchvision.datasets import FashionMNIST

        try:
            FashionMNIST(self.root, download=True)
        except (OSError, RuntimeError, HTTPException) as error:
            names = ", ".join(name for name, _ in FashionMNIST.resources)
            raise UserError(
                f"data.download: Fashion-MNIST cannot be fetched ({' '.join(str(error).split())}); "
                f"put {names} into {self.root} by hand and run again"
            ) from error
        return raw / stem


def _coloured(images: Tensor) -> Tensor:
    """Turn (N, 28, 28) into (N, 3, 32, 32)."""
    return F.pad(images, (2,) * 4)[:, None].expand(-1, 3, -1, -1)


def read_idx(path: Path) -> Tensor:
    """Read a file of Fashion-MNIST under its published name, gzipped or not.

    Gives images, uint8 (N, H, W), or labels, int64 (N,).

    Raises:
        UserError: the file cannot be read, has another header or another length.
    """
    _torchvision.ensure()
    from torchvision.datasets import mnist, utils

    damage = AssertionError, EOFError, KeyError, OSError, RuntimeError, TypeError, ValueError
    try:
        with TemporaryDirectory() as folder:
            plain = utils.extract_archive(path, folder) if path.suffix == ".gz" else path
            read = mnist.read_label_file if "labels" in path.name else mnist.read_image_file
            values: Tensor = read(plain)
            return values
    except (*damage, zlib.error) as error:
        raise UserError(
            f"data.root: {path} is no whole idx file of bytes "
            f"({str(error) or 'it begins otherwise'}); fetch it again"
        ) from error
