"""The similarity matrices a search left, read as data."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from diswot.reporting.page.facts import LARGEST
from diswot.reporting.page.reading import MOST, damaged

__all__ = ["similarity"]

_KINDS = ("relation", "semantic")
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}

Pair = tuple[NDArray[np.float64], NDArray[np.float64]]


def similarity(folder: Path) -> dict[str, Pair]:
    """Matrices of teacher and student, ``(n, n)``, by kind: relation, semantic; may be empty.

    Raises:
        UnreadableError: The file is damaged.
    """
    file = folder / "similarity.npz"
    if not file.is_file():
        return {}
    try:
        with zipfile.ZipFile(file) as archive:
            _check_size(sum(member.file_size for member in archive.infolist()))
            kinds = [kind for kind in _KINDS if f"{kind}_teacher.npy" in archive.namelist()]
            return {kind: _pair(archive, kind) for kind in kinds}
    except (OSError, KeyError, ValueError, TypeError, EOFError) as error:
        raise damaged(file, error) from error
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise damaged(file, error) from error


def _check_size(size: int) -> None:
    if size > MOST:
        raise ValueError(f"more than {MOST // 2**20} MB")


def _pair(archive: zipfile.ZipFile, kind: str) -> Pair:
    teacher, student = (_matrix(archive, f"{kind}_{who}.npy") for who in ("teacher", "student"))
    if teacher.shape != student.shape:
        raise ValueError(f"{kind}: shapes {teacher.shape} and {student.shape}")
    return teacher, student


def _matrix(archive: zipfile.ZipFile, name: str) -> NDArray[np.float64]:
    """A matrix of the archive; one that its header makes too large is never allocated."""
    with archive.open(name) as file:
        version = npy.read_magic(file)
        shape, _, dtype = _HEADERS[version](file)
    if dtype.kind != "f" or len(shape) != 2 or shape[0] != shape[1] or shape[0] < 1:
        raise ValueError(f"{name}: {dtype} of shape {shape}, not a square matrix of floats")
    _check_size(max(dtype.itemsize, 8) * shape[0] * shape[1])
    with archive.open(name) as file:
        matrix = np.asarray(npy.read_array(file, allow_pickle=False), np.float64)
    if not (np.abs(matrix) <= LARGEST).all():
        raise ValueError(f"{name}: not finite, or above {LARGEST:g}")
    return matrix
