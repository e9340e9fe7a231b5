"""Outputs of a teacher in a file: what is kept of them, how it is written, checked and read.

The file is of safetensors. It is written as the outputs come, replaces another in one step, holds a
checksum for every view, and is read through a memory map.
"""

from __future__ import annotations

import json
import math
import secrets
import time
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from diswot.models.outputs import NetworkOutputs
from diswot.runs.files import replacing

_ABANDONED = 24 * 3600.0  # seconds after which a draft is taken for that of a killed process
_NAMES = {torch.float32: "F32", torch.float16: "F16", torch.int32: "I32"}  # safetensors' own

Rows = Mapping[str, Tensor]
"""What is kept of some images, by name, ``(B, width)``."""


@dataclass(frozen=True)
class Kept:
    """What is kept of a teacher's outputs for an image.

    Of the ``top`` k largest logits of K, z, and the sum of the others the kept logits are ``z_i``
    for those k, and ``log(Σ_others exp(z_j) / (K − k))`` for each of the others. So the softmax is
    normalised and has the teacher's own probabilities for the k classes; what is left is spread
    evenly. Softened by a temperature other than 1 the others' share is not exactly the teacher's.

    Source: Shen & Xing, "A Fast Knowledge Distillation Framework for Visual Recognition", ECCV
    2022, whose marginal smoothing does so with probabilities.

    Attributes:
        classes: K.
        top: k, below K; None: all logits are kept.
        half: Logits are float16, which rounds them by up to 1/2048; else float32.
        embedding: Width of the embedding that is kept too, in float16; 0: it is not.
    """

    classes: int
    top: int | None = None
    half: bool = False
    embedding: int = 0

    @property
    def widths(self) -> dict[str, tuple[torch.dtype, int]]:
        """Type and length of what is kept of an image, by name."""
        number = torch.float16 if self.half else torch.float32
        kept = {"logits": (number, self.classes)}
        if self.top is not None:  # the last number is that of the other classes
            kept = {"top_logits": (number, self.top + 1), "top_classes": (torch.int32, self.top)}
        return kept | ({"embedding": (torch.float16, self.embedding)} if self.embedding else {})

    @property
    def nbytes(self) -> int:
        """Bytes of an image."""
        return sum(number.itemsize * width for number, width in self.widths.values())

    def __str__(self) -> str:
        largest = "" if self.top is None else f"{self.top:,} of "
        further = f" and {self.embedding:,} features" if self.embedding else ""
        return f"{largest}{self.classes:,} classes{further}"

    def pack(self, outputs: NetworkOutputs) -> Rows:
        """What is kept of these outputs, on the CPU."""
        rows = {"logits": outputs.logits.float(), "embedding": outputs.embedding}
        if self.top is not None:
            logits, classes = rows["logits"].topk(self.top)
            others = rows["logits"].scatter(1, classes, -math.inf).logsumexp(1, keepdim=True)
            others -= math.log(self.classes - self.top)
            rows |= {"top_logits": torch.cat([logits, others], 1), "top_classes": classes}
        return {name: rows[name].to("cpu", number) for name, (number, _) in self.widths.items()}

    def unpack(self, rows: Rows) -> NetworkOutputs:
        """The outputs in float32, without maps; without an embedding where none is kept."""
        if self.top is None:
            logits = rows["logits"].float()
        else:
            known, classes = rows["top_logits"].float(), rows["top_classes"].long()
            others = known[:, -1:].expand(-1, self.classes)
            logits = others.scatter(1, classes, known[:, :-1])
        embedding = rows.get("embedding", logits.new_empty(len(logits), 0)).float()
        return NetworkOutputs((), (), embedding, logits)


class StoredOutputs:
    """What `write_outputs` wrote of some views of all training images, memory-mapped."""

    def __init__(self, path: Path, kept: Kept) -> None:
        self.path, self.kept = path, kept
        with safe_open(path, "pt") as file:
            self._tensors: dict[str, Tensor] = {n: file.get_tensor(n) for n in kept.widths}
        self.views = len(next(iter(self._tensors.values())))

    def __reduce__(self) -> tuple[type[StoredOutputs], tuple[Path, Kept]]:
        """Send the path: shared memory is often too small for what the file holds."""
        return StoredOutputs, (self.path, self.kept)

    def view(self, number: int, device: torch.device) -> Rows:
        """What is kept of all images for a view, on a device."""
        return {name: tensor[number].to(device) for name, tensor in self._tensors.items()}

    def outputs(self, view: Rows, indices: Tensor, device: torch.device) -> NetworkOutputs:
        """The outputs for some images of a view, on a device."""
        return self.kept.unpack(
            {name: rows[indices.to(rows.device)].to(device) for name, rows in view.items()}
        )


def write_outputs(path: Path, kept: Kept, views: int, images: int, chunks: Iterable[Rows]) -> None:
    """Write the file; processes that write the same one at once do each other no harm.

    Chunks are of a view's images in order, view after view; none goes beyond a view. On a full
    disk, an OSError, ``path`` is unchanged.
    """
    sizes = [number.itemsize * width for number, width in kept.widths.values()]
    starts = [views * images * sum(sizes[:place]) for place in range(len(sizes) + 1)]
    entries = {
        name: {
            "dtype": _NAMES[number],
            "shape": [views, images, width],
            "data_offsets": starts[place : place + 2],
        }
        for place, (name, (number, width)) in enumerate(kept.widths.items())
    }
    checksums, written = np.zeros(views * len(sizes), dtype="<i8"), 0
    ends = [starts[-1], starts[-1] + checksums.nbytes]
    entries["crc32"] = {"dtype": "I64", "shape": [len(checksums)], "data_offsets": ends}
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)
    with replacing(path, f".{path.name}.{secrets.token_hex(4)}.tmp") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        first = file.tell()
        for chunk in chunks:
            for place, name in enumerate(kept.widths):
                content, number = plain_bytes(chunk[name]), written // images * len(sizes) + place
                checksums[number] = zlib.crc32(content, int(checksums[number]))
                file.seek(first + starts[place] + written * sizes[place])
                file.write(content)
            written += len(chunk[name])
        file.seek(first + starts[-1])
        file.write(checksums.tobytes())


def is_whole(path: Path, kept: Kept, views: int, images: int) -> bool:
    """Whether a file holds what was written."""
    try:
        with safe_open(path, "pt") as file:
            tensors = [file.get_tensor(name) for name in kept.widths]
            checksums = file.get_tensor("crc32")
    except (SafetensorError, OSError):
        return False
    wanted = [(number, (views, images, width)) for number, width in kept.widths.values()]
    if [(tensor.dtype, tuple(tensor.shape)) for tensor in tensors] != wanted:
        return False
    found = [zlib.crc32(plain_bytes(tensor[view])) for view in range(views) for tensor in tensors]
    return bool(checksums.tolist() == found)


def plain_bytes(tensor: Tensor) -> memoryview:
    """The values of a tensor in order."""
    plain = tensor.detach().cpu().contiguous().reshape(-1)
    return plain.view(torch.uint8).numpy().data


def remove_abandoned(folder: Path) -> None:
    """Remove the drafts that killed processes left behind."""
    for draft in folder.glob(".*.safetensors.*.tmp"):
        with suppress(OSError):  # another process was quicker, or it is not ours
            if time.time() - draft.stat().st_mtime > _ABANDONED:
                draft.unlink()
