"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009) from the official Python batches."""

from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Unpack

import numpy as np
import torch

from diswot import _torchvision, checks
from diswot.data._batches import read_batch
from diswot.data._download import download
from diswot.data.base import ImageData, ImageSettings, Split
from diswot.data.images import ArrayImages
from diswot.errors import UserError

__all__ = ["Cifar10", "Cifar100"]


class _Cifar(ImageData):
    """What both share; file names, checksums and addresses are torchvision's."""

    title: ClassVar[str]
    classes: ClassVar[int]
    label_key: ClassVar[str]
    root: Path

    def __init__(
        self,
        *,
        root: str | Path = "data",
        download: bool = False,
        verify: bool = True,
        **settings: Unpack[ImageSettings],
    ) -> None:
        """Check and keep the settings.

        Args:
            root: the folder that holds ``cifar-10-batches-py`` or ``cifar-100-python``.
            download: fetch and unpack the archive when a file is missing or damaged.
            verify: compare the files with the published md5 sums.
            **settings: those of :class:`ImageData`.
        """
        super().__init__(
            name=self.title.lower(),
            num_classes=self.classes,
            in_channels=3,
            root=Path(root).expanduser(),
            **settings,
        )
        self.download = checks.flag("data.download", download)
        self.verify = checks.flag("data.verify", verify)

    def prepare_data(self) -> None:
        """Fetch the archive if that is asked for and a file is missing or damaged."""
        source = self._source
        files = source.train_list + source.test_list
        if self.download and not all(self._intact(name, md5) for name, md5 in files):
            download(source.url, self.root, source.filename, source.tgz_md5, unpack=True)

    def load(self, split: Split) -> ArrayImages:
        """Read one split from its batches."""
        files = self._source.train_list if split == "train" else self._source.test_list
        batches = [read_batch(self._checked(name, md5), self.label_key) for name, md5 in files]
        images, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
        return ArrayImages(torch.from_numpy(images), torch.from_numpy(labels), self.transform)

    @cached_property
    def _source(self) -> Any:
        """The class of torchvision: its constants only, because an instance would unpickle."""
        _torchvision.ensure()
        from torchvision import datasets

        return getattr(datasets, self.title)

    def _intact(self, name: str, md5: str) -> bool:
        _torchvision.ensure()
        from torchvision.datasets.utils import check_integrity

        path = self.root / self._source.base_folder / name
        return bool(check_integrity(path, md5 if self.verify else None))

    def _checked(self, name: str, md5: str) -> Path:
        path = Path(self.root, self._source.base_folder, name)
        if self._intact(name, md5):
            return path
        problem = "is not the official file (its md5 differs)" if path.exists() else "is missing"
        raise UserError(
            f"data.root: {path} {problem}; unpack {self._source.filename} in {self.root}, "
            "or give data.download=true or another data.root"
        )


class Cifar10(_Cifar):
    """CIFAR-10: 50,000 + 10,000 images of 32x32 in 10 classes."""

    title = "CIFAR10"
    classes = 10
    label_key = "labels"


class Cifar100(_Cifar):
    """CIFAR-100: 50,000 + 10,000 images of 32x32 in 100 (fine) classes."""

    title = "CIFAR100"
    classes = 100
    label_key = "fine_labels"
