"""Images and labels in numpy archives, as arrays or as JPEG files."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diswot.data.base import ArrayImages, EvalTransform, ImageData, LabelledImages, Split, decode
from diswot.errors import UserError
from diswot.runs.files import DAMAGED_ARRAYS

_SMALL = 64  # JPEG files of one size up to this many pixels a side are decoded when loaded
_JPEG_KEYS = ("bytes", "offsets", "labels")


class ArrayData(ImageData):
    """Images in memory, as arrays or JPEG files.

    Args:
        stored: what each split holds; no test split: only training images are asked for.
        num_classes: number of classes; default: the largest training label + 1.
        image_size: height and width; default: the shorter side of the stored images.
        mean, std: of each channel; default: those of the training images.

    Raises:
        UserError: a setting is outside what is allowed.
    """

    def __init__(
        self,
        stored: Mapping[Split, Stored],
        *,
        name: str,
        num_classes: int | None = None,
        image_size: int | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        **settings: Any,
    ) -> None:
        self._stored = dict(stored)
        images, labels = self._stored["train"] = _decoded(*stored["train"])
        if isinstance(images, np.ndarray):
            image_size = min(images.shape[2:]) if image_size is None else image_size
            own_mean, own_std = _statistics(images)
            mean, std = own_mean if mean is None else mean, own_std if std is None else std
        elif image_size is None or mean is None or std is None:
            raise UserError(
                f"data.image_size, data.mean, data.std: the images of {name} are not all "
                f"of one size up to {_SMALL} pixels, so these are not measured; give all three"
            )
        super().__init__(
            name=name,
            num_classes=int(labels.max()) + 1 if num_classes is None else num_classes,
            in_channels=_channels(images),
            image_size=image_size,
            mean=mean,
            std=std,
            **settings,
        )

    def load(self, split: Split) -> LabelledImages:
        """Give one split; small JPEG files of the test split are decoded only now."""
        if split not in self._stored:
            raise UserError(f"data: {self.name} has no {split} images; give test_data")
        images, labels = _decoded(*self._stored[split])
        if isinstance(images, _Jpegs):
            return JpegImages(images, torch.from_numpy(labels), self.transform)
        return ArrayImages(torch.from_numpy(images), torch.from_numpy(labels), self.transform)


class NpzData(ArrayData):
    """A ``.npz`` with ``x_train``, ``y_train``, ``x_test`` and ``y_test``, or one file a split.

    Images are uint8, (N, C, H, W) or (N, H, W, C), with C of 1 or 3; labels are whole numbers
    from 0, shape (N,). A file of one split may hold JPEG files instead: ``bytes``, the files one
    after another, uint8; ``offsets``, where each begins and the last one ends, (N + 1,); and
    ``labels``. Small JPEG files of one size are decoded once, others when they are asked for.

    Args:
        path: the file of both splits, or of the training split.
        test_path: the file of the test split; default: ``path`` holds it too.
        settings: those of :class:`ArrayData`.

    Raises:
        UserError: a file is not as described, or a setting is outside what is allowed.
    """

    own_files = ("path", "test_path")

    def __init__(
        self, *, path: str | Path | None, test_path: str | Path | None = None, **settings: Any
    ) -> None:
        if path is None:
            keys = ", ".join(_array_keys(("train", "test")))
            raise UserError(f"data.path: not given; give an .npz file with {keys}")
        self.path = Path(path).expanduser()
        super().__init__(_read_splits(self.path, test_path), name=self.path.stem, **settings)

    def load(self, split: Split) -> LabelledImages:
        """See :class:`ArrayData`."""
        if split not in self._stored:
            raise UserError(
                f"data.test_path: not given, and {self.path} holds JPEG files of one split; "
                "give the .npz file of the test split"
            )
        return super().load(split)


class JpegImages(LabelledImages):
    """JPEG files held in memory, decoded one by one when asked for."""

    def __init__(self, jpegs: _Jpegs, labels: Tensor, transform: EvalTransform) -> None:
        super().__init__(labels, transform)
        self.jpegs = jpegs

    def pixels(self, index: int) -> Tensor:
        """Decode image ``index``: RGB, uint8 (3, H, W); a damaged file is a `UserError`."""
        return self.jpegs.decode(index)


@dataclass(frozen=True)
class _Jpegs:
    """JPEG files by index; ``source`` is the setting and the file they come from."""

    source: str
    content: NDArray[np.uint8]
    offsets: NDArray[np.int64]

    def decode(self, index: int) -> Tensor:
        start, end = self.offsets[index : index + 2]
        file = BytesIO(self.content[start:end].tobytes())
        name = f"{self.source}: image {index} is not a readable JPEG"
        return decode(file, name, "make or fetch the file again", ("JPEG",))


Stored = tuple[NDArray[np.uint8] | _Jpegs, NDArray[np.int64]]
"""One split as it lies in a file: images, uint8 (N, C, H, W) or JPEG, and labels (N,)."""


def _decoded(images: NDArray[np.uint8] | _Jpegs, labels: NDArray[np.int64]) -> Stored:
    """JPEG files of one size of at most ``_SMALL`` as an array; all else as it is."""
    if isinstance(images, np.ndarray) or max((first := images.decode(0)).shape) > _SMALL:
        return images, labels
    pixels = np.empty((len(labels), *first.shape), np.uint8)
    for index in range(len(labels)):
        image = images.decode(index)
        if image.shape != first.shape:
            return images, labels
        pixels[index] = image.numpy()
    return pixels, labels


def _channels(images: NDArray[np.uint8] | _Jpegs) -> int:
    return 3 if isinstance(images, _Jpegs) else int(images.shape[1])


def _read_splits(path: Path, test_path: str | Path | None) -> dict[Split, Stored]:
    if test_path is None:
        stored = _read(path, "data.path", ("train", "test"))
    else:
        test = _read(Path(test_path).expanduser(), "data.test_path", ("test",))
        stored = _read(path, "data.path", ("train",)) | test
    train, *test_channels = (_channels(images) for images, _ in stored.values())
    if test_channels and test_channels[0] != train:
        raise UserError(
            f"data.{'path' if test_path is None else 'test_path'}: {test_path or path} cannot be "
            f"used (x_train and x_test differ in channels: {train} and {test_channels[0]}); "
            "give images with as many"
        )
    return stored


def _read(path: Path, setting: str, splits: Sequence[Split]) -> dict[Split, Stored]:
    """The splits of a file of arrays, or of one of JPEG files, which is the first split alone."""
    try:
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):
                raise ValueError("it is no .npz archive")
            with np.load(file, allow_pickle=False) as archive:
                keys = _JPEG_KEYS if "bytes" in archive else _array_keys(splits)
                if missing := [key for key in keys if key not in archive]:
                    raise ValueError(f"it has no {', '.join(missing)}")
                arrays = {key: np.asanyarray(archive[key]) for key in keys}
        if keys is _JPEG_KEYS:
            return {splits[0]: _jpegs(*arrays.values(), source=f"{setting}: {path}")}
        names = {split: (f"x_{split}", f"y_{split}") for split in splits}
        return {split: as_stored(arrays[x], arrays[y], (x, y)) for split, (x, y) in names.items()}
    except DAMAGED_ARRAYS as error:
        raise UserError(
            f"{setting}: {path} cannot be used ({error}); give an .npz file with "
            f"{', '.join(_array_keys(splits))}, or of one split with {', '.join(_JPEG_KEYS)}"
        ) from error


def read_train(path: Path, setting: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """``x_train``, as (N, C, H, W), and ``y_train`` of a file; a UserError names the setting."""
    images, labels = _read(path, setting, ("train",))["train"]
    assert isinstance(images, np.ndarray)
    return images, labels


def _array_keys(splits: Sequence[Split]) -> tuple[str, ...]:
    return tuple(f"{kind}_{split}" for split in splits for kind in "xy")


def as_stored(
    images: NDArray[Any], labels: NDArray[Any], names: tuple[str, str]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Arrays as `ArrayData` keeps them; a ValueError says by ``names`` which cannot be, and why."""
    key = names[0]
    if images.dtype != np.uint8 or images.ndim != 4 or not images.size:
        raise ValueError(f"{key} is {images.dtype} {images.shape}, not uint8 with 4 dimensions")
    if images.shape[1] not in {1, 3}:
        if images.shape[3] not in {1, 3}:
            raise ValueError(f"{key} of shape {images.shape} has no axis of 1 or 3 channels")
        images = images.transpose(0, 3, 1, 2)
    return images, _labels(labels, len(images), names[1])


def _labels(labels: NDArray[Any], count: int, key: str) -> NDArray[np.int64]:
    if not np.issubdtype(labels.dtype, np.integer) or labels.shape != (count,):
        raise ValueError(f"{key} is {labels.dtype} {labels.shape}, not {count} whole numbers")
    return labels.astype(np.int64)


def _jpegs(
    content: NDArray[Any], offsets: NDArray[Any], labels: NDArray[Any], *, source: str
) -> Stored:
    if content.dtype != np.uint8 or content.ndim != 1:
        raise ValueError(f"bytes is {content.dtype} {content.shape}, not uint8 in a row")
    if not np.issubdtype(offsets.dtype, np.integer) or offsets.ndim != 1 or len(offsets) < 2:
        raise ValueError(f"offsets is {offsets.dtype} {offsets.shape}, not 2 or more whole numbers")
    offsets = offsets.astype(np.int64)
    if offsets[0] != 0 or offsets[-1] != len(content) or (np.diff(offsets) < 1).any():
        raise ValueError(
            f"offsets runs from {offsets[0]} to {offsets[-1]}; it has to grow from 0 to "
            f"{len(content)}, the length of bytes"
        )
    return _Jpegs(source, content, offsets), _labels(labels, len(offsets) - 1, "labels")


def _statistics(images: NDArray[np.uint8]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel of (N, C, H, W), from exact counts."""
    values = np.arange(256) / 255
    counts = np.zeros((images.shape[1], 256), np.int64)
    for start in range(0, len(images), 256):  # bincount widens what it is given to 64 bits
        some = images[start : start + 256].swapaxes(0, 1)
        counts += [np.bincount(channel.ravel(), minlength=256) for channel in some]
    means = [float(np.average(values, weights=count)) for count in counts]
    variances = [
        float(np.average((values - mean) ** 2, weights=count))
        for mean, count in zip(means, counts, strict=True)
    ]
    return means, [variance**0.5 or 1.0 for variance in variances]
