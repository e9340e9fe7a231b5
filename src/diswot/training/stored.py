"""The file of a teacher's logits: written as they come, there whole or not at all, mapped."""

from __future__ import annotations

import json
import secrets
import time
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from diswot.runs.files import replacing

__all__ = ["StoredLogits", "is_whole", "plain_bytes", "remove_abandoned", "write_logits"]

_ABANDONED = 24 * 3600.0
"""Seconds after which a draft that nobody wrote to is taken for that of a killed process."""

Shape = tuple[int, int, int]
"""Views, images, classes."""


class StoredLogits:
    """The logits in a file, mapped into memory; a process it is sent to maps the file itself.

    Args:
        path: A file that `is_whole`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with safe_open(path, "pt") as file:
            self.logits: Tensor = file.get_tensor("logits")

    def __reduce__(self) -> tuple[type[StoredLogits], tuple[Path]]:
        """Send the path: shared memory is often too small for what the file holds."""
        return StoredLogits, (self.path,)

    def __len__(self) -> int:
        """Count the views."""
        return len(self.logits)

    def __getitem__(self, place: tuple[int, Tensor]) -> Tensor:
        """Logits ``(B, K)``, on the CPU, for a view of the images with indices ``(B,)``."""
        return self.logits[place]


def plain_bytes(tensor: Tensor) -> memoryview:
    """What a tensor holds, in plain memory order."""
    plain = tensor.detach().cpu().contiguous().reshape(-1)
    return plain.view(torch.uint8).numpy().data


def is_whole(path: Path, key: str, shape: Shape) -> bool:
    """Whether a file was written for this key and holds what was written."""
    try:
        with safe_open(path, "pt") as file:
            ours = (file.metadata() or {}).get("key") == key
            logits, checksums = file.get_tensor("logits"), file.get_tensor("crc32")
    except (SafetensorError, OSError):
        return False
    if not ours or logits.shape != shape or logits.dtype != torch.float32:
        return False
    found = [zlib.crc32(plain_bytes(view)) for view in logits]
    return bool(found == checksums.tolist())


def write_logits(path: Path, key: str, shape: Shape, chunks: Iterable[Tensor]) -> None:
    """Write a safetensors file; processes that write the same one at once do each other no harm.

    Args:
        path: In an existing folder.
        key: Kept in the file.
        shape: Of all logits.
        chunks: The logits ``(B, K)`` of a view's images in order, float32, view after view; none
            goes beyond a view.

    Raises:
        OSError: The disk is full; ``path`` is unchanged.
    """
    with replacing(path, f".{path.name}.{secrets.token_hex(4)}.tmp") as file:
        _stream(file, key, shape, chunks)


def _stream(file: IO[bytes], key: str, shape: Shape, chunks: Iterable[Tensor]) -> None:
    views, images, classes = shape
    size = views * images * classes * 4
    entries = {
        "__metadata__": {"key": key},
        "logits": {"dtype": "F32", "shape": shape, "data_offsets": [0, size]},
        "crc32": {"dtype": "I64", "shape": [views], "data_offsets": [size, size + 8 * views]},
    }
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)
    file.write(len(header).to_bytes(8, "little") + header)
    checksums, written = np.zeros(views, dtype="<i8"), 0
    for chunk in chunks:
        content, view = plain_bytes(chunk), written // images
        checksums[view] = zlib.crc32(content, int(checksums[view]))
        written += len(chunk)
        file.write(content)
    file.write(checksums.tobytes())


def remove_abandoned(folder: Path) -> None:
    """Remove the drafts that killed processes left behind."""
    for draft in folder.glob(".*.safetensors.*.tmp"):
        try:
            if time.time() - draft.stat().st_mtime > _ABANDONED:
                draft.unlink()
        except OSError:  # another process was quicker, or it is not ours
            continue
