"""Reader of idx files, the format of MNIST and Fashion-MNIST."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diswot.errors import UserError

__all__ = ["read_idx"]

_UNSIGNED_BYTE = 0x08


def read_idx(path: Path, dims: int) -> NDArray[np.uint8]:
    """Read an idx file of unsigned bytes, gzipped if its name ends in ``.gz``.

    The header is ``0 0 8 dims`` and one big-endian 32-bit size a dimension.

    Args:
        path: the file.
        dims: how many dimensions it must have.

    Raises:
        UserError: the file cannot be read, has another header or another length.
    """
    data = _read(path)
    magic, start = bytes([0, 0, _UNSIGNED_BYTE, dims]), 4 + 4 * dims
    if data[:4] != magic:
        raise UserError(
            f"data.root: {path} begins with {data[:4].hex(' ') or 'nothing'}; "
            f"an idx file of bytes with {dims} dimension(s) begins with {magic.hex(' ')}"
        )
    if len(data) < start:
        raise UserError(f"data.root: {path} ends within its header; fetch it again")
    shape = struct.unpack(f">{dims}I", data[4:start])
    if len(data) - start != math.prod(shape):
        raise UserError(
            f"data.root: {path} holds {len(data) - start} bytes, "
            f"but its header promises {math.prod(shape)}; fetch it again"
        )
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _read(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"data.root: {path} cannot be read ({error}); fetch it again") from error
