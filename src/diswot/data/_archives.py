"""Reader of ``.npz`` archives of images, as arrays or as JPEG files."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from diswot.data.base import Split
from diswot.data.jpeg import Jpegs, decode_small
from diswot.errors import UserError

__all__ = ["Stored", "array_keys", "read_archive"]

_JPEG_KEYS = ("bytes", "offsets", "labels")
_CHANNELS = (1, 3)


class Stored(NamedTuple):
    """One split as it lies in a file.

    Attributes:
        images: uint8 of shape (N, C, H, W), or JPEG files.
        labels: class indices, int64 of shape (N,).
    """

    images: NDArray[np.uint8] | Jpegs
    labels: NDArray[np.int64]

    @property
    def channels(self) -> int:
        """Channels of an image."""
        return 3 if isinstance(self.images, Jpegs) else int(self.images.shape[1])

    def decoded(self) -> Stored:
        """Give the same with small JPEG files decoded.

        Raises:
            UserError: a file is damaged.
        """
        small = decode_small(self.images) if isinstance(self.images, Jpegs) else None
        return self if small is None else self._replace(images=small)


def array_keys(splits: Sequence[Split]) -> list[str]:
    """Names of the arrays that hold some splits."""
    return [f"{kind}_{split}" for split in splits for kind in ("x", "y")]


def read_archive(path: Path, setting: str, splits: Sequence[Split]) -> dict[Split, Stored]:
    """Read and check the arrays of some splits.

    Args:
        path: the file.
        setting: that it was given by, for messages.
        splits: that an archive of arrays must hold; one of JPEG files holds the first alone.

    Raises:
        UserError: the file cannot be read or is not as described.
    """
    try:
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):
                raise ValueError("it is no .npz archive")
            with np.load(file, allow_pickle=False) as archive:
                if "bytes" in archive:
                    return {splits[0]: _jpegs(_taken(archive, _JPEG_KEYS), f"{setting}: {path}")}
                arrays = _taken(archive, array_keys(splits))
        return {split: _arrays(arrays, split) for split in splits}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(
            f"{setting}: {path} cannot be used ({error}); give an .npz file with "
            f"{', '.join(array_keys(splits))}, or of one split with {', '.join(_JPEG_KEYS)}"
        ) from error


def _taken(archive: Mapping[str, Any], keys: Sequence[str]) -> dict[str, NDArray[Any]]:
    missing = [key for key in keys if key not in archive]
    if missing:
        raise ValueError(f"it has no {', '.join(missing)}")
    return {key: archive[key] for key in keys}


def _jpegs(arrays: Mapping[str, NDArray[Any]], source: str) -> Stored:
    jpegs = Jpegs.checked(source, arrays["bytes"], arrays["offsets"])
    return Stored(jpegs, _labels(arrays["labels"], len(jpegs), "labels"))


def _arrays(arrays: Mapping[str, NDArray[Any]], split: Split) -> Stored:
    images = _channels_first(arrays[f"x_{split}"], f"x_{split}")
    return Stored(images, _labels(arrays[f"y_{split}"], len(images), f"y_{split}"))


def _channels_first(images: NDArray[Any], key: str) -> NDArray[np.uint8]:
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
