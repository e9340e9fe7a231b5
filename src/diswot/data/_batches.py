"""Reader of the pickled CIFAR batches that runs no code of theirs."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diswot.data._pickles import DAMAGE, load_pickle
from diswot.errors import UserError

__all__ = ["read_batch"]


def _dtype(text: str, align: object = False, copy: object = False) -> np.dtype[Any]:
    """Build a dtype; old pickles give the flags as 0 and 1, which new numpy warns of."""
    return np.dtype(text, align=bool(align), copy=bool(copy))


_ARRAYS = {
    ("numpy", "dtype"): _dtype,
    ("numpy", "ndarray"): None,
    ("numpy.core.multiarray", "_reconstruct"): None,
    ("numpy._core.multiarray", "_reconstruct"): None,
    ("_codecs", "encode"): None,
}


def read_batch(path: Path, label_key: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read one batch file of CIFAR-10 or CIFAR-100.

    Args:
        path: the file.
        label_key: ``labels`` (CIFAR-10), ``fine_labels`` or ``coarse_labels`` (CIFAR-100).

    Returns:
        Images, uint8 of shape (N, 3, 32, 32), and labels, int64 of shape (N,).

    Raises:
        UserError: the file is damaged, is no CIFAR batch, or asks for more than arrays.
    """
    try:
        with path.open("rb") as file:
            batch = load_pickle(file, _ARRAYS, encoding="latin1")
        data, labels = batch["data"], np.asarray(batch[label_key], dtype=np.int64)
        if not isinstance(data, np.ndarray) or data.dtype != np.uint8:
            raise TypeError("its data is no array of bytes")
        return data.reshape(len(labels), 3, 32, 32), labels
    except DAMAGE as error:
        raise UserError(
            f"data.root: {path} is not a CIFAR batch ({error}); fetch the data again"
        ) from error
