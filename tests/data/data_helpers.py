"""Small samples in the published form of every data set that is read from files."""

import gzip
import hashlib
import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diswot import _torchvision

CLASSES = 10
PER_CLASS = 8


def pixels(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(0, 256, shape, dtype=np.uint8)


def idx_bytes(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


def write_fashion_mnist(root: Path) -> dict[str, object]:
    rng = np.random.default_rng(0)
    labels = np.tile(np.arange(CLASSES, dtype=np.uint8), PER_CLASS)
    for prefix in ("train", "t10k"):
        images = idx_bytes(pixels(rng, len(labels), 28, 28))
        (root / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
        (root / f"{prefix}-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
    return {"root": str(root)}


def write_batches(folder: Path, names: list[str], width: int, batch: dict[str, object]) -> None:
    """Batches of rows of bytes, as many as the labels of ``batch``."""
    rng = np.random.default_rng(1)
    folder.mkdir()
    for name in names:
        images = pixels(rng, len(next(iter(batch.values()))), width)  # type: ignore[call-overload]
        (folder / name).write_bytes(pickle.dumps({"data": images, **batch}, protocol=2))


def write_cifar10(root: Path) -> dict[str, object]:
    names, folder = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"], "cifar-10-batches-py"
    write_batches(root / folder, names, 3072, {"labels": [*range(CLASSES)] * 2})
    (root / folder / "batches.meta").write_bytes(pickle.dumps({"label_names": [*"abcdefghij"]}))
    return {"root": str(root)}


def write_cifar100(root: Path) -> dict[str, object]:
    labels, folder = {"fine_labels": [*range(CLASSES)] * PER_CLASS}, "cifar-100-python"
    write_batches(root / folder, ["train", "test"], 3072, labels)
    (root / folder / "meta").write_bytes(pickle.dumps({"fine_label_names": [*"abcdefghij"]}))
    return {"root": str(root)}


def write_imagenet16_120(root: Path) -> dict[str, object]:
    names = [*(f"train_data_batch_{i}" for i in range(1, 11)), "val_data"]
    labels = {"labels": [*range(1, CLASSES + 3)] * 2, "mean": np.zeros(768)}
    write_batches(root / "ImageNet16", names, 768, labels)
    return {"root": str(root), "num_classes": CLASSES, "verify": False}


def write_folder(root: Path) -> dict[str, object]:
    rng = np.random.default_rng(2)
    for split, suffix in (("train", "JPEG"), ("val", "png")):
        for label in range(CLASSES):
            folder = root / split / f"class_{label}"
            folder.mkdir(parents=True)
            for index in range(PER_CLASS):
                Image.fromarray(pixels(rng, 20, 30, 3)).save(folder / f"{index}.{suffix}")
    return {"root": str(root), "num_classes": CLASSES}


write_imagenet = write_folder


def write_npz(root: Path) -> dict[str, object]:
    rng = np.random.default_rng(3)
    labels = np.repeat(np.arange(CLASSES), PER_CLASS)
    images = pixels(rng, len(labels), 3, 32, 32)
    arrays = {"x_train": images, "y_train": labels, "x_test": images[::2], "y_test": labels[::2]}
    np.savez(root / "arrays.npz", **arrays)
    return {"path": str(root / "arrays.npz")}


def write_synthesized(root: Path) -> dict[str, object]:
    rng = np.random.default_rng(4)
    labels = np.tile(np.arange(CLASSES), PER_CLASS)
    np.savez(root / "images.npz", x_train=pixels(rng, len(labels), 3, 32, 32), y_train=labels)
    target = {"_target_": "diswot.data.fashion.FashionMini"}
    node = {**target, "image_size": 32, "mean": [0.286], "std": [0.353], "batch_size": 64}
    (root / "config.json").write_text(json.dumps({"data": node}))
    return {"run": str(root)}


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, object] | None]:
    """Gives the settings with which a data set reads a sample; None where none is written here."""
    written: dict[str, dict[str, object]] = {}

    def settings(name: str) -> dict[str, object] | None:
        if name not in written and (write := globals().get(f"write_{name}")):
            written[name] = write(tmp_path_factory.mktemp(name))
        return written.get(name)

    return settings


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Puts the md5 sums of files in the form of CIFAR where torchvision has the published ones."""
    _torchvision.ensure()
    from torchvision import datasets

    def trust(root: Path) -> None:
        for source in (datasets.CIFAR10, datasets.CIFAR100):
            folder = root / source.base_folder
            if not folder.is_dir():
                continue
            sums = {p.name: hashlib.md5(p.read_bytes()).hexdigest() for p in folder.iterdir()}
            for files in ("train_list", "test_list"):
                known = [[name, sums[name]] for name, _ in getattr(source, files)]
                monkeypatch.setattr(source, files, known)
            own = source.meta | {"md5": sums[source.meta["filename"]]}
            monkeypatch.setattr(source, "meta", own)

    return trust


@pytest.fixture
def npz_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a valid archive with some keys replaced; None leaves a key out."""

    def write(**changes: np.ndarray | None) -> Path:
        rng = np.random.default_rng(4)
        arrays = {"x_train": pixels(rng, 12, 3, 16, 16), "y_train": np.arange(12) % 3}
        arrays |= {"x_test": arrays["x_train"], "y_test": arrays["y_train"]}
        kept = {key: value for key, value in (arrays | changes).items() if value is not None}
        np.savez(tmp_path / "arrays.npz", **kept)
        return tmp_path / "arrays.npz"

    return write


class Payload:
    """Writes a file when it is unpickled without restriction."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return (touch, (str(self.target), "ran"))


def touch(path: str, text: str) -> None:
    Path(path).write_text(text, encoding="utf-8")
