"""Images and labels in a numpy archive of your own."""

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from numpy.typing import NDArray

from diswot.data.base import ImageData, LoaderSettings, Split
from diswot.data.images import ArrayImages
from diswot.errors import UserError

__all__ = ["NpzData"]

_KEYS = ("x_train", "y_train", "x_test", "y_test")
_CHANNELS = (1, 3)


class NpzData(ImageData):
    """A ``.npz`` with ``x_train``, ``y_train``, ``x_test`` and ``y_test``.

    Images are uint8, (N, C, H, W) or (N, H, W, C), with C of 1 or 3; labels are whole numbers
    from 0, shape (N,).
    """

    def __init__(
        self,
        *,
        path: str | Path | None,
        num_classes: int | None = None,
        image_size: int | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        **settings: Unpack[LoaderSettings],
    ) -> None:
        """Read the file and check it and the settings.

        Args:
            path: the file.
            num_classes: number of classes; default: the largest training label + 1.
            image_size: height and width; default: the shorter side of the stored images.
            mean: mean of each channel; default: that of the training images.
            std: standard deviation of each channel; default: that of the training images.
            **settings: those of :class:`ImageData`.

        Raises:
            UserError: the file is not as described, or a setting is outside what is allowed.
        """
        if path is None:
            raise UserError("data.path: not given; give an .npz file with " + ", ".join(_KEYS))
        self.path = Path(path).expanduser()
        arrays = _read(self.path)
        self._arrays = arrays
        images, labels = arrays["x_train"], arrays["y_train"]
        measured_mean, measured_std = _statistics(images)
        super().__init__(
            name=self.path.stem,
            num_classes=int(labels.max()) + 1 if num_classes is None else num_classes,
            in_channels=images.shape[1],
            image_size=min(images.shape[2:]) if image_size is None else image_size,
            mean=measured_mean if mean is None else mean,
            std=measured_std if std is None else std,
            **settings,
        )

    def load(self, split: Split) -> ArrayImages:
        """Give one split of the arrays."""
        images, labels = self._arrays[f"x_{split}"], self._arrays[f"y_{split}"]
        return ArrayImages(torch.from_numpy(images), torch.from_numpy(labels), self.transform)


def _read(path: Path) -> dict[str, NDArray[Any]]:
    """Read and check the four arrays; images come back as (N, C, H, W), labels as int64."""
    try:
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):
                raise ValueError("it is no .npz archive")
            with np.load(file, allow_pickle=False) as archive:
                missing = [key for key in _KEYS if key not in archive]
                if missing:
                    raise ValueError(f"it has no {', '.join(missing)}")
                arrays = {key: archive[key] for key in _KEYS}
        for split in ("train", "test"):
            images, labels = arrays[f"x_{split}"], arrays[f"y_{split}"]
            arrays[f"x_{split}"] = _channels_first(images, f"x_{split}")
            arrays[f"y_{split}"] = _labels(labels, len(images), f"y_{split}")
        if arrays["x_train"].shape[1] != arrays["x_test"].shape[1]:
            raise ValueError("x_train and x_test differ in channels")
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(
            f"data.path: {path} cannot be used ({error}); give an .npz file with {', '.join(_KEYS)}"
        ) from error
    return arrays


def _channels_first(images: NDArray[Any], key: str) -> NDArray[Any]:
    if images.dtype != np.uint8 or images.ndim != 4 or not images.size:
        raise ValueError(f"{key} is {images.dtype} {images.shape}, not uint8 with 4 dimensions")
    if images.shape[1] in _CHANNELS:
        return images
    if images.shape[3] in _CHANNELS:
        return images.transpose(0, 3, 1, 2)
    raise ValueError(f"{key} of shape {images.shape} has no axis of 1 or 3 channels")


def _labels(labels: NDArray[Any], count: int, key: str) -> NDArray[np.int64]:
    if not np.issubdtype(labels.dtype, np.integer) or labels.shape != (count,):
        raise ValueError(f"{key} is {labels.dtype} {labels.shape}, not {count} whole numbers")
    return labels.astype(np.int64)


def _statistics(images: NDArray[Any]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel of (N, C, H, W), from exact counts."""
    values = np.arange(256) / 255
    counts = [
        np.bincount(images[:, channel].ravel(), minlength=256) for channel in range(images.shape[1])
    ]
    means = [float(np.average(values, weights=count)) for count in counts]
    variances = [
        float(np.average((values - mean) ** 2, weights=count))
        for mean, count in zip(means, counts, strict=True)
    ]
    return means, [variance**0.5 or 1.0 for variance in variances]
