"""Folders with one sub-folder of images a class, ImageNet among them."""

import os
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Unpack

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from diswot import checks
from diswot.data.base import ImageData, ImageSettings, Split
from diswot.data.images import EvalTransform, LabelledImages
from diswot.errors import UserError

__all__ = ["FolderData", "FolderImages"]

_WANTED = "a folder with one sub-folder of images a class, or with train and val made so"
_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
_HASH_RANGE = 2**64


class FolderImages(LabelledImages):
    """Images in files, decoded one by one when asked for."""

    def __init__(self, paths: list[str], labels: list[int], transform: EvalTransform) -> None:
        """Keep the paths of the files and their labels."""
        super().__init__(torch.tensor(labels, dtype=torch.int64), transform)
        self.paths = paths

    def pixels(self, index: int) -> Tensor:
        """Decode image ``index``: RGB, uint8 (3, H, W).

        Raises:
            UserError: the file is not an image that can be read.
        """
        path = self.paths[index]
        try:
            with Image.open(path) as image:
                pixels = np.array(image.convert("RGB"))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise UserError(
                f"data.root: {path} is not a readable image ({error}); replace or remove it"
            ) from error
        return torch.from_numpy(pixels).permute(2, 0, 1)


class FolderData(ImageData):
    """Any image folder: ``root/class/…/image``, or ``root/train`` and ``root/val`` (``test``).

    Folders for torchvision's ``ImageFolder``, ImageNet among them, serve as they are, with the
    same class indices.
    Without ``val`` or ``test``, a share of the images is held out as the test split: those whose
    relative path has a small blake2b hash, so an image stays on its side when others come or go.
    """

    root: Path

    def __init__(
        self,
        *,
        root: str | Path | None,
        name: str = "folder",
        num_classes: int | None = None,
        crop: float = 1.0,
        holdout: float = 0.1,
        **settings: Unpack[ImageSettings],
    ) -> None:
        """Check the settings and list the classes.

        Args:
            root: the folder.
            name: what the data set is called in results.
            num_classes: how many classes there must be; default: as many as there are.
            crop: share of the resized short side that the centre crop keeps.
            holdout: share of the images held out where there is no ``val`` or ``test`` folder.
            **settings: those of :class:`ImageData`.

        Raises:
            UserError: there is no such folder, or it has no classes, or not as many as asked for.
        """
        path = checks.folder("data.root", root, _WANTED)
        self.train_folder = path / "train" if (path / "train").is_dir() else path
        self.classes = _class_names(self.train_folder)
        if num_classes not in {None, len(self.classes)}:
            raise UserError(
                f"data.num_classes: {self.train_folder} has {len(self.classes)} classes, "
                f"not {num_classes}; give data.num_classes={len(self.classes)} or another data.root"
            )
        super().__init__(
            name=name, num_classes=len(self.classes), in_channels=3, root=path, **settings
        )
        self.crop = checks.number("data.crop", crop, low=0.1, high=1)
        self.holdout = checks.number("data.holdout", holdout, low=0, high=0.9)

    @property
    def transform(self) -> EvalTransform:
        """Turns a decoded image into what a network is given."""
        return EvalTransform(self.image_size, self.mean, self.std, self.crop)

    @property
    def test_folder(self) -> Path | None:
        """The folder of the test split; None where images are held out instead."""
        if self.train_folder == self.root:
            return None
        return next((self.root / n for n in ("val", "test") if (self.root / n).is_dir()), None)

    def load(self, split: Split) -> FolderImages:
        """List the files of one split; none of them is opened."""
        folder = (self.test_folder if split == "test" else None) or self.train_folder
        found = _index(folder, self.classes)
        if self.test_folder is None:
            held_out = split == "test"
            found = (item for item in found if (_place(item[0]) < self.holdout) == held_out)
        images = list(found)
        if not images:
            raise UserError(
                f"data.root: {folder} has no {split} images ({', '.join(_SUFFIXES)}) "
                f"with data.holdout={self.holdout:g}; give {_WANTED}"
            )
        paths = [str(folder / relative) for relative, _ in images]
        return FolderImages(paths, [label for _, label in images], self.transform)


def _class_names(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        names = sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))
    if not names:
        raise UserError(f"data.root: {folder} has no sub-folders; give {_WANTED}")
    return names


def _index(folder: Path, classes: list[str]) -> Iterator[tuple[str, int]]:
    """Give the path within ``folder`` and the label of every image, in a fixed order."""
    unknown = sorted(set(_class_names(folder)) - set(classes))
    if unknown:
        raise UserError(f"data.root: {folder / unknown[0]} is a class that the train folder lacks")
    for label, name in enumerate(classes):
        for parent, below, files in os.walk(folder / name, followlinks=True):
            below.sort()
            inner = os.path.relpath(parent, folder)
            yield from (
                (f"{inner}/{file}", label)
                for file in sorted(files)
                if file.lower().endswith(_SUFFIXES)
            )


def _place(relative: str) -> float:
    """Map a path to [0, 1) by a stable hash."""
    digest = blake2b(relative.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "little") / _HASH_RANGE
