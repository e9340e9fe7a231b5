"""Images and labels in numpy archives of your own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from numpy.typing import NDArray

from diswot.data._archives import Stored, array_keys, read_archive
from diswot.data.base import ImageData, LoaderSettings, Split
from diswot.data.images import ArrayImages, LabelledImages
from diswot.data.jpeg import SMALL, JpegImages, Jpegs
from diswot.errors import UserError

__all__ = ["NpzData"]

_CHUNK = 256  # images


class NpzData(ImageData):
    """A ``.npz`` with ``x_train``, ``y_train``, ``x_test`` and ``y_test``, or one file a split.

    Images are uint8, (N, C, H, W) or (N, H, W, C), with C of 1 or 3; labels are whole numbers
    from 0, shape (N,). A file of one split may hold JPEG files instead, as ``bytes``, ``offsets``
    and ``labels``: see :class:`diswot.data.jpeg.Jpegs`.
    """

    def __init__(
        self,
        *,
        path: str | Path | None,
        test_path: str | Path | None = None,
        num_classes: int | None = None,
        image_size: int | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        **settings: Unpack[LoaderSettings],
    ) -> None:
        """Read the files and check them and the settings.

        Args:
            path: the file of both splits, or of the training split.
            test_path: the file of the test split; default: ``path`` holds it too.
            num_classes: number of classes; default: the largest training label + 1.
            image_size: height and width; default: the shorter side of the stored images.
            mean: mean of each channel; default: that of the training images.
            std: standard deviation of each channel; default: that of the training images.
            **settings: those of :class:`ImageData`.

        Raises:
            UserError: a file is not as described, or a setting is outside what is allowed.
        """
        if path is None:
            keys = ", ".join(array_keys(("train", "test")))
            raise UserError(f"data.path: not given; give an .npz file with {keys}")
        self.path = Path(path).expanduser()
        self._stored = _read(self.path, test_path)
        train = self._stored["train"] = self._stored["train"].decoded()
        size, means, deviations = self._form(train.images, image_size, mean, std)
        super().__init__(
            name=self.path.stem,
            num_classes=int(train.labels.max()) + 1 if num_classes is None else num_classes,
            in_channels=train.channels,
            image_size=size,
            mean=means,
            std=deviations,
            **settings,
        )

    def load(self, split: Split) -> LabelledImages:
        """Give one split; small JPEG files of the test split are decoded only now.

        Raises:
            UserError: there is no such split, or one of its images is damaged.
        """
        if split not in self._stored:
            raise UserError(
                f"data.test_path: not given, and {self.path} holds JPEG files of one split; "
                "give the .npz file of the test split"
            )
        images, labels = self._stored[split].decoded()
        numbers = torch.from_numpy(labels)
        if isinstance(images, Jpegs):
            return JpegImages(images, numbers, self.transform)
        return ArrayImages(torch.from_numpy(images), numbers, self.transform)

    def _form(
        self,
        images: NDArray[np.uint8] | Jpegs,
        size: int | None,
        mean: Sequence[float] | None,
        std: Sequence[float] | None,
    ) -> tuple[int, Sequence[float], Sequence[float]]:
        """Give size, means and deviations, measured where not given."""
        if isinstance(images, Jpegs):
            if size is None or mean is None or std is None:
                raise UserError(
                    f"data.image_size, data.mean, data.std: the images of {self.path} are not all "
                    f"of one size up to {SMALL} pixels, so these are not measured; give all three"
                )
            return size, mean, std
        measured_mean, measured_std = _statistics(images)
        return (
            min(images.shape[2:]) if size is None else size,
            measured_mean if mean is None else mean,
            measured_std if std is None else std,
        )


def _read(path: Path, test_path: str | Path | None) -> dict[Split, Stored]:
    if test_path is None:
        stored = read_archive(path, "data.path", ("train", "test"))
    else:
        test = read_archive(Path(test_path).expanduser(), "data.test_path", ("test",))
        stored = read_archive(path, "data.path", ("train",)) | test
    channels = {split: one.channels for split, one in stored.items()}
    if len(set(channels.values())) > 1:
        raise UserError(
            f"data.{'path' if test_path is None else 'test_path'}: {test_path or path} cannot be "
            f"used (x_train and x_test differ in channels: {channels['train']} and "
            f"{channels['test']}); give images with as many"
        )
    return stored


def _statistics(images: NDArray[Any]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel of (N, C, H, W), from exact counts."""
    values = np.arange(256) / 255
    counts = np.zeros((images.shape[1], 256), np.int64)
    for start in range(0, len(images), _CHUNK):  # bincount widens what it is given to 64 bits
        some = images[start : start + _CHUNK].swapaxes(0, 1)
        counts += [np.bincount(channel.ravel(), minlength=256) for channel in some]
    means = [float(np.average(values, weights=count)) for count in counts]
    variances = [
        float(np.average((values - mean) ** 2, weights=count))
        for mean, count in zip(means, counts, strict=True)
    ]
    return means, [variance**0.5 or 1.0 for variance in variances]
