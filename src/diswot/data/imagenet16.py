"""ImageNet16-120: the first classes of ImageNet at 16x16 pixels.

Downsampled by Chrabaszcz et al. (arXiv:1707.08819); cut to 120 classes by Dong and Yang,
NAS-Bench-201 (ICLR 2020), whose list of md5 sums this is (D-X-Y/AutoDL-Projects).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Unpack

import numpy as np
import torch
from numpy.typing import NDArray

from diswot import checks
from diswot.data._batches import read_batch
from diswot.data.base import ImageData, ImageSettings, Split
from diswot.data.images import ArrayImages
from diswot.errors import UserError

__all__ = ["ImageNet16"]

_SIDE, _CLASSES = 16, 1000
_FOLDER = "ImageNet16"
_FILES: dict[Split, dict[str, str]] = {
    "train": {
        "train_data_batch_1": "27846dcaa50de8e21a7d1a35f30f0e91",
        "train_data_batch_2": "c7254a054e0e795c69120a5727050e3f",
        "train_data_batch_3": "4333d3df2e5ffb114b05d2ffc19b1e87",
        "train_data_batch_4": "1620cdf193304f4a92677b695d70d10f",
        "train_data_batch_5": "348b3c2fdbb3940c4e9e834affd3b18d",
        "train_data_batch_6": "6e765307c242a1b3d7d5ef9139b48945",
        "train_data_batch_7": "564926d8cbf8fc4818ba23d2faac7564",
        "train_data_batch_8": "f4755871f718ccb653440b9dd0ebac66",
        "train_data_batch_9": "bb6dd660c38c58552125b1a92f86b5d4",
        "train_data_batch_10": "8f03f34ac4b42271a294f91bf480f29b",
    },
    "test": {"val_data": "3410e3017fdaefba8d5073aaa65e4bd6"},
}


class ImageNet16(ImageData):
    """ImageNet at 16x16: images whose label, counted from 1, is at most ``num_classes``."""

    root: Path

    def __init__(
        self,
        *,
        root: str | Path = "data",
        num_classes: int = 120,
        verify: bool = True,
        **settings: Unpack[ImageSettings],
    ) -> None:
        """Check and keep the settings.

        Args:
            root: the folder that holds ``train_data_batch_1`` to ``_10`` and ``val_data``, or
                ``ImageNet16`` with them.
            num_classes: how many classes are kept, at most 1000.
            verify: compare the files with the published md5 sums.
            **settings: those of :class:`ImageData`.

        Raises:
            UserError: a setting is outside what is allowed.
        """
        kept = checks.whole("data.num_classes", num_classes, 2)
        if kept > _CLASSES:
            raise UserError(f"data.num_classes={kept} is not allowed; give at most {_CLASSES}")
        super().__init__(
            name=f"imagenet16-{kept}",
            num_classes=kept,
            in_channels=3,
            root=Path(root).expanduser(),
            **settings,
        )
        self.verify = checks.flag("data.verify", verify)

    def load(self, split: Split) -> ArrayImages:
        """Read one split from its batches.

        Raises:
            UserError: a file is missing, is not the published one, or is damaged.
        """
        batches = [self._batch(name, md5) for name, md5 in _FILES[split].items()]
        images, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
        return ArrayImages(torch.from_numpy(images), torch.from_numpy(labels), self.transform)

    def _batch(self, name: str, md5: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Read the kept classes of one file, labels from 0."""
        path = self._checked(name, md5)
        images, labels = read_batch(path, "labels", side=_SIDE, title="ImageNet16")
        if len(labels) and not 1 <= labels.min() <= labels.max() <= _CLASSES:
            raise UserError(
                f"data.root: the labels of {path} run from {labels.min()} to {labels.max()}; "
                f"those of ImageNet16 are 1 to {_CLASSES}"
            )
        kept = labels <= self.num_classes
        return images[kept], labels[kept] - 1

    def _checked(self, name: str, md5: str) -> Path:
        places = (self.root / name, self.root / _FOLDER / name)
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            problem = f"{self.root / name} is missing, also from {_FOLDER} below it"
        elif self.verify and _md5(path) != md5:
            problem = f"{path} is not the published file (its md5 differs)"
        else:
            return path
        raise UserError(
            f"data.root: {problem}; unpack Imagenet16_train.zip and Imagenet16_val.zip of "
            "image-net.org there, or give another data.root"
        )


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
