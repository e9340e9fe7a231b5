"""Binary files that the package reads, as kinds of inputs for `fuzz`: weights, arrays, images."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fuzz_mutations import Kind, mutated, npz_of, safetensors_mutated, zip_mutated
from PIL import Image
from safetensors.torch import save

from diswot.checkpoint import build_network
from diswot.data.base import decode
from diswot.data.cifar import ImageNet16
from diswot.data.npz import NpzData
from diswot.models.weights import load_weights
from diswot.runs import read_similarity
from diswot.training.stored import Kept, StoredOutputs, is_whole, write_outputs

RESNET8 = {
    "name": "resnet8",
    "network": {
        **{"_target_": "diswot.models.resnet.CifarResNet", "shortcut": "B"},
        **{"depths": [1, 1, 1], "widths": [16, 16, 32, 64]},
    },
}

IMAGE = {"image_size": 8, "mean": [0.5], "std": [0.5], "batch_size": 2}


def weights(folder: Path) -> Iterable[Kind]:
    """Checkpoints of every form, and stored outputs of a teacher."""
    network = build_network(RESNET8, "teacher", 10, 3)
    state = {name: value.contiguous() for name, value in network.state_dict().items()}

    def load(suffix: str, data: bytes) -> None:
        (folder / f"weights{suffix}").write_bytes(data)
        load_weights(network, str(folder / f"weights{suffix}"), name="resnet8", setting="weights")

    def zipped(content: object, **settings: Any) -> bytes:
        out = io.BytesIO()
        torch.save(content, out, **settings)
        return out.getvalue()

    lightning = {"state_dict": state, "epoch": 3, "loops": {"fit": {"x": [1, 2.5, None]}}}
    pth = [zipped(state), zipped(lightning)]
    old = [zipped({"model": state}, _use_new_zipfile_serialization=False)]
    for name, weight, seeds, suffix, mutate in (
        ("weights.safetensors", 2, [save(state)], ".safetensors", safetensors_mutated),
        ("weights.pth", 2, pth, ".pth", zip_mutated),
        ("weights.pt of old torch", 1, old, ".pt", mutated),
    ):
        yield Kind(name, weight, seeds, partial(load, suffix), mutate)
    kept, stored = Kept(4, embedding=3), folder / "stored.safetensors"
    rows = {"logits": torch.rand(5, 4), "embedding": torch.rand(5, 3).half()}
    write_outputs(stored, kept, 2, 5, [rows, rows])
    whole = stored.read_bytes()

    def outputs(data: bytes) -> str | None:
        stored.write_bytes(data)
        if not is_whole(stored, kept, 2, 5):
            return "found damaged"
        views = [StoredOutputs(stored, kept).view(number, torch.device("cpu")) for number in (0, 1)]
        same = all(torch.equal(view[name], rows[name]) for view in views for name in rows)
        return None if same else "read otherwise"

    yield Kind("stored outputs", 4, [whole], outputs, safetensors_mutated)


def images(folder: Path) -> Iterable[Kind]:
    """Arrays, JPEG and PNG files, batches of ImageNet16."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (4, 3, 8, 8), dtype=np.uint8)

    def encoded(form: str, size: int = 16, **settings: Any) -> bytes:
        out = io.BytesIO()
        image = Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8))
        image.save(out, form, **settings)
        return out.getvalue()

    jpegs = [encoded("JPEG"), encoded("JPEG", 40, progressive=True), encoded("JPEG", quality=5)]
    labels = {"y_train": np.arange(4), "y_test": np.arange(4)}
    arrays = npz_of(x_train=pixels, x_test=pixels, **labels)
    content = np.frombuffer(b"".join(jpegs), np.uint8)
    offsets = np.cumsum([0, *map(len, jpegs)])
    of_jpegs = npz_of(bytes=content, offsets=offsets, labels=np.arange(3))

    def npz(data: bytes) -> None:
        (folder / "images.npz").write_bytes(data)
        loaded = NpzData(path=folder / "images.npz", num_classes=None, **IMAGE).load("train")
        loaded[0]

    def similarity(data: bytes) -> None:
        (folder / "similarity.npz").write_bytes(data)
        read_similarity(folder)

    def picture(formats: tuple[str, ...] | None, data: bytes) -> None:
        decode(io.BytesIO(data), "an image", "replace it", formats)

    def batch(data: bytes) -> None:
        (folder / "val_data").write_bytes(data)
        ImageNet16(root=folder, verify=False, num_classes=10, **IMAGE).load("test")

    matrix = rng.random((4, 4)).astype(np.float32)
    pairs = npz_of(relation_teacher=matrix, relation_student=matrix)
    sixteen = {"data": rng.integers(0, 256, (3, 768), dtype=np.uint8), "labels": [1, 2, 3]}
    pickles = [pickle.dumps(sixteen, protocol=number) for number in (2, 4)]
    yield Kind("images.npz", 6, [arrays, of_jpegs], npz, zip_mutated)
    yield Kind("similarity.npz", 6, [pairs], similarity, zip_mutated)
    yield Kind("JPEG", 15, jpegs, partial(picture, ("JPEG",)), mutated)
    others = list(map(encoded, ("PNG", "GIF", "TIFF", "WebP")))
    yield Kind("other pictures", 6, others, partial(picture, None), mutated)
    yield Kind("pickled images", 6, pickles, batch, mutated)
