"""Folders with one sub-folder of images a class, ImageNet among them."""

import os
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diswot import _torchvision, checks
from diswot.data.base import EvalTransform, ImageData, LabelledImages, Split, decode
from diswot.errors import UserError

_WANTED = "a folder with one sub-folder of images a class, or with train and val made so"


class FolderData(ImageData):
    """Any image folder: ``root/class/…/image``, or ``root/train`` and ``root/val`` (``test``).

    Folders for torchvision's ``ImageFolder``, ImageNet among them, serve as they are, with the
    same class indices.
    Without ``val`` or ``test``, a share of the images is held out as the test split: those whose
    relative path has a small blake2b hash, so an image stays on its side when others come or go.

    Args:
        num_classes: how many classes there must be; default: as many as there are.
        crop: share of the resized short side that the centre crop keeps.
        holdout: share of the images held out where there is no ``val`` or ``test`` folder.

    Raises:
        UserError: there is no such folder, or it has fewer than two classes, or not as many as
            asked for.
    """

    own_files = ("root",)
    root: Path

    def __init__(
        self,
        *,
        root: str | Path | None,
        name: str = "folder",
        num_classes: int | None = None,
        crop: float = 1.0,
        holdout: float = 0.1,
        **settings: Any,
    ) -> None:
        path = checks.folder("data.root", root, _WANTED)
        self.train_folder = path / "train" if (path / "train").is_dir() else path
        self.classes = _class_names(self.train_folder)
        if len(self.classes) < 2:
            raise UserError(
                f"data.root: {self.train_folder} has one class, {self.classes[0]}, and at least "
                f"two are needed; give {_WANTED}"
            )
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

    def load(self, split: Split) -> "FolderImages":
        """List the files of one split as torchvision's ``ImageFolder``; none of them is opened."""
        apart = () if self.train_folder == self.root else (self.root / "val", self.root / "test")
        test_folder = next((path for path in apart if path.is_dir()), None)
        folder = (test_folder if split == "test" else None) or self.train_folder
        unknown = sorted(set(_class_names(folder)) - set(self.classes))
        if unknown:
            path = folder / unknown[0]
            raise UserError(f"data.root: {path} is a class that the train folder lacks")
        _torchvision.ensure()
        from torchvision.datasets.folder import IMG_EXTENSIONS, ImageFolder

        labels = {name: label for label, name in enumerate(self.classes)}
        samples = ImageFolder.make_dataset(folder, labels, IMG_EXTENSIONS, allow_empty=True)
        if test_folder is None:
            held_out = split == "test"
            samples = [s for s in samples if (_place(s[0], folder) < self.holdout) == held_out]
        if not samples:
            raise UserError(
                f"data.root: {folder} has no {split} images ({', '.join(IMG_EXTENSIONS)}) "
                f"with data.holdout={self.holdout:g}; give {_WANTED}"
            )
        samples.sort(key=_order)
        return FolderImages([s[0] for s in samples], [s[1] for s in samples], self.transform)


class FolderImages(LabelledImages):
    """Images in files, decoded one by one when asked for."""

    def __init__(self, paths: list[str], labels: list[int], transform: EvalTransform) -> None:
        super().__init__(torch.tensor(labels, dtype=torch.int64), transform)
        self.paths = paths

    def pixels(self, index: int) -> Tensor:
        """Decode image ``index``: RGB, uint8 (3, H, W); a damaged file is a `UserError`."""
        path = self.paths[index]
        return decode(path, f"data.root: {path} is not a readable image", "replace or remove it")


def _class_names(folder: Path) -> list[str]:
    names = sorted(p.name for p in folder.glob("[!.]*") if p.is_dir())
    if not names:
        raise UserError(f"data.root: {folder} has no sub-folders; give {_WANTED}")
    return names


def _order(sample: tuple[str, int]) -> tuple[str, str]:
    """A folder before those below it, whatever characters their names have."""
    folder, name = os.path.split(sample[0])
    return folder.replace(os.sep, "\0"), name


def _place(path: str, folder: Path) -> float:
    """Map a path below a folder to [0, 1) by a stable hash."""
    relative = path.removeprefix(f"{folder}{os.sep}")
    digest = blake2b(relative.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "little") / 2**64
