"""Reader of pickled batches, of CIFAR and ImageNet16, that runs no code of theirs."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from diswot.data._pickles import DAMAGE, load_pickle
from diswot.errors import UserError

__all__ = ["read_batch"]


def _dtype(text: str, align: object = False, copy: object = False) -> np.dtype[Any]:
    """Build a dtype; old pickles give the flags as 0 and 1, which new numpy warns of."""
    return np.dtype(text, align=bool(align), copy=bool(copy))


def _array(
    buffer: bytes | bytearray,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    order: Literal["C", "F"],
    axes: tuple[int, ...] | None = None,
) -> NDArray[Any]:
    """Build an array as pickles of protocol 5 describe it; ``axes`` go with order ``K``."""
    flat = np.frombuffer(buffer, dtype)
    return flat.reshape(shape, order=order) if axes is None else flat.reshape(shape).transpose(axes)


_ARRAYS = {
    ("numpy", "dtype"): _dtype,
    ("numpy", "ndarray"): None,
    ("numpy.core.multiarray", "_reconstruct"): None,
    ("numpy._core.multiarray", "_reconstruct"): None,
    ("numpy.core.numeric", "_frombuffer"): _array,
    ("numpy._core.numeric", "_frombuffer"): _array,
    ("_codecs", "encode"): None,
}


def read_batch(
    path: Path, label_key: str, *, side: int = 32, title: str = "CIFAR"
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read one batch file of CIFAR-10, CIFAR-100 or ImageNet16.

    Args:
        path: the file.
        label_key: ``labels``, or of CIFAR-100 ``fine_labels`` or ``coarse_labels``.
        side: height and width of an image in pixels.
        title: what the file should be a batch of, for messages.

    Returns:
        Images, uint8 of shape (N, 3, side, side), and labels, int64 of shape (N,).

    Raises:
        UserError: the file is damaged, is no such batch, or asks for more than arrays.
    """
    try:
        with path.open("rb") as file:
            batch = load_pickle(file, _ARRAYS, encoding="latin1")
        data, labels = batch["data"], np.asarray(batch[label_key], dtype=np.int64)
        if not isinstance(data, np.ndarray) or data.dtype != np.uint8:
            raise TypeError("its data is no array of bytes")
        return data.reshape(len(labels), 3, side, side), labels
    except DAMAGE as error:
        raise UserError(
            f"data.root: {path} is no {title} batch ({error}); fetch the data again"
        ) from error
