"""CIFAR-10, CIFAR-100 and ImageNet16-120: small images, published as pickled batches."""

import hashlib
import pickle
import warnings
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from diswot import _torchvision, checks
from diswot.data.base import ArrayImages, ImageData, Split
from diswot.errors import UserError

DAMAGED_PICKLE = (
    pickle.UnpicklingError,
    *(ArithmeticError, AttributeError, EOFError, ImportError, LookupError, MemoryError),
    *(TypeError, ValueError),
)
"""Errors of a damaged pickle, or of one of another form."""


class _Cifar(ImageData):
    """CIFAR (Krizhevsky 2009) as torchvision reads it, which compares md5 sums before it unpickles.

    ``download`` fetches the archive to ``root`` when a file is missing or damaged.
    """

    title: ClassVar[str]
    classes: ClassVar[int]
    root: Path

    def __init__(
        self, *, root: str | Path = "data", download: bool = False, **settings: Any
    ) -> None:
        path, name = Path(root).expanduser(), self.title.lower()
        super().__init__(name=name, num_classes=self.classes, in_channels=3, root=path, **settings)
        self.download = checks.flag("data.download", download)

    def load(self, split: Split) -> ArrayImages:
        """Read one split from its batches, and fetch the archive before if that is asked for."""
        _torchvision.ensure()
        from torchvision import datasets

        source = getattr(datasets, self.title)
        try:
            with warnings.catch_warnings(action="ignore"):  # numpy's, of old forms of pickles
                stored = source(self.root, train=split == "train", download=self.download)
        except (OSError, RuntimeError, HTTPException) as error:
            raise UserError(self._advice(source, error)) from error
        images = torch.from_numpy(stored.data).permute(0, 3, 1, 2)
        return ArrayImages(images, torch.tensor(stored.targets), self.transform)

    def _advice(self, source: Any, error: Exception) -> str:
        folder, meta = self.root / source.base_folder, source.meta["filename"]
        sums = dict([*source.train_list, *source.test_list, (meta, source.meta["md5"])])
        wrong = next((name for name, md5 in sums.items() if _problem(folder / name, md5)), None)
        if wrong is None or (self.download and wrong != meta):
            return (
                f"data.download: {source.url} cannot be fetched ({' '.join(str(error).split())}); "
                f"put {source.filename} into {self.root} by hand and run again"
            )
        return (
            f"data.root: {folder / wrong} {_problem(folder / wrong, sums[wrong])}; unpack "
            f"{source.filename} in {self.root}, or give data.download=true or another data.root"
        )


class Cifar10(_Cifar):
    """CIFAR-10: 50,000 + 10,000 images of 32x32 in 10 classes."""

    title, classes = "CIFAR10", 10


class Cifar100(_Cifar):
    """CIFAR-100: 50,000 + 10,000 images of 32x32 in 100 (fine) classes."""

    title, classes = "CIFAR100", 100


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
    """ImageNet at 16x16: images whose label, counted from 1, is at most ``num_classes``.

    Downsampled by Chrabaszcz et al. (arXiv:1707.08819); cut to 120 classes by Dong and Yang,
    NAS-Bench-201 (ICLR 2020), whose list of md5 sums this is (D-X-Y/AutoDL-Projects).

    Args:
        root: the folder of ``train_data_batch_1`` to ``_10`` and ``val_data``, or above
            ``ImageNet16`` with them.
        num_classes: how many classes are kept, at most 1000.
        verify: compare the files with the published md5 sums.
    """

    root: Path

    def __init__(
        self,
        *,
        root: str | Path = "data",
        num_classes: int = 120,
        verify: bool = True,
        **settings: Any,
    ) -> None:
        kept = checks.whole("data.num_classes", num_classes, 2)
        if kept > _CLASSES:
            raise UserError(f"data.num_classes={kept} is not allowed; give at most {_CLASSES}")
        path, name = Path(root).expanduser(), f"imagenet16-{kept}"
        super().__init__(name=name, num_classes=kept, in_channels=3, root=path, **settings)
        self.verify = checks.flag("data.verify", verify)

    def load(self, split: Split) -> ArrayImages:
        """Read one split from its batches."""
        batches = [self._batch(name, md5) for name, md5 in _FILES[split].items()]
        images, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
        return ArrayImages(torch.from_numpy(images), torch.from_numpy(labels), self.transform)

    def _batch(self, name: str, md5: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Read the kept classes of one file, labels from 0."""
        places = (self.root / name, self.root / _FOLDER / name)
        path = next((place for place in places if place.is_file()), places[0])
        if problem := _problem(path, md5 if self.verify else None):
            raise UserError(
                f"data.root: {path} {problem}; unpack Imagenet16_train.zip and Imagenet16_val.zip "
                f"of image-net.org there or in {_FOLDER} below it, or give another data.root"
            )
        try:
            with path.open("rb") as file:
                batch = load_pickle(file, _ARRAYS, encoding="latin1")
            data, labels = batch["data"], np.asarray(batch["labels"], dtype=np.int64)
            if not isinstance(data, np.ndarray) or data.dtype != np.uint8:
                raise TypeError("its data is no array of bytes")
            images = data.reshape(len(labels), 3, _SIDE, _SIDE)
        except DAMAGED_PICKLE as error:
            raise UserError(
                f"data.root: {path} is no ImageNet16 batch ({error}); fetch the data again"
            ) from error
        if len(labels) and not 1 <= labels.min() <= labels.max() <= _CLASSES:
            raise UserError(
                f"data.root: the labels of {path} run from {labels.min()} to {labels.max()}; "
                f"those of ImageNet16 are 1 to {_CLASSES}"
            )
        kept = labels <= self.num_classes
        return images[kept], labels[kept] - 1


def _problem(path: Path, md5: str | None) -> str | None:
    if not path.is_file():
        return "is missing"
    with path.open("rb") as file:
        differs = md5 is not None and hashlib.file_digest(file, "md5").hexdigest() != md5
    return "is not the published file (its md5 differs)" if differs else None


def load_pickle(
    file: IO[bytes], allowed: Mapping[tuple[str, str], Any], encoding: str = "ASCII"
) -> Any:
    """Read a pickle of plain values and of what is allowed; no code of the file runs.

    ``allowed`` gives by (module, name) what stands in for it, or None for the thing itself;
    ``encoding`` is that of the byte strings that Python 2 wrote.

    Raises:
        UnpicklingError: it asks for what is not allowed; or others of ``DAMAGED_PICKLE``.
    """

    class Restricted(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            if (module, name) not in allowed:
                raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not allowed")
            return allowed[module, name] or super().find_class(module, name)

    with warnings.catch_warnings(action="ignore"):
        return Restricted(file, encoding=encoding).load()


_ARRAYS = dict.fromkeys([("numpy", "dtype"), ("numpy", "ndarray"), ("_codecs", "encode")])
for _core in ("numpy.core", "numpy._core"):  # before numpy 2 and since
    _ARRAYS[f"{_core}.multiarray", "_reconstruct"] = None
    _ARRAYS[f"{_core}.numeric", "_frombuffer"] = None
