"""A folder that holds a small real-format sample of every data set."""

import gzip
import io
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CLASSES = 10
PER_CLASS = 8


def pixels(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(0, 256, shape, dtype=np.uint8)


def idx_bytes(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


def write_fashion(root: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.tile(np.arange(CLASSES, dtype=np.uint8), PER_CLASS)
    for prefix in ("train", "t10k"):
        images = idx_bytes(pixels(rng, len(labels), 28, 28))
        (root / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
        (root / f"{prefix}-labels-idx1-ubyte").write_bytes(idx_bytes(labels))


def write_cifar(root: Path) -> None:
    rng = np.random.default_rng(1)

    def write(path: Path, key: str, count: int) -> None:
        path.parent.mkdir(exist_ok=True)
        batch = {"data": pixels(rng, count, 3072), key: [i % CLASSES for i in range(count)]}
        path.write_bytes(pickle.dumps(batch, protocol=2))

    ten, hundred = root / "cifar-10-batches-py", root / "cifar-100-python"
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        write(ten / name, "labels", 2 * CLASSES)
    for name in ("train", "test"):
        write(hundred / name, "fine_labels", PER_CLASS * CLASSES)


def write_imagenet16(folder: Path) -> None:
    rng = np.random.default_rng(5)
    folder.mkdir()
    for name in [*(f"train_data_batch_{i}" for i in range(1, 11)), "val_data"]:
        labels = [1 + i % (CLASSES + 2) for i in range(2 * (CLASSES + 2))]
        images = pixels(rng, len(labels), 768)
        batch = {"data": images, "labels": labels, "mean": images.mean(0)}
        (folder / name).write_bytes(pickle.dumps(batch))


def write_images(root: Path) -> None:
    rng = np.random.default_rng(2)
    for split, suffix in (("train", "JPEG"), ("val", "png")):
        for label in range(CLASSES):
            folder = root / split / f"class_{label}"
            folder.mkdir(parents=True)
            for index in range(PER_CLASS):
                Image.fromarray(pixels(rng, 20, 30, 3)).save(folder / f"{index}.{suffix}")


def write_npz(path: Path) -> None:
    rng = np.random.default_rng(3)
    labels = np.repeat(np.arange(CLASSES), PER_CLASS)
    images = pixels(rng, len(labels), 3, 32, 32)
    np.savez(path, x_train=images, y_train=labels, x_test=images[::2], y_test=labels[::2])


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every format in one folder, read-only by convention."""
    root = tmp_path_factory.mktemp("sample")
    write_fashion(root)
    write_cifar(root)
    write_imagenet16(root / "ImageNet16")
    write_images(root)
    write_npz(root / "arrays.npz")
    return root


@pytest.fixture
def npz_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a valid archive with some keys replaced; None leaves a key out."""

    def write(**changes: np.ndarray | None) -> Path:
        rng = np.random.default_rng(4)
        arrays = {"x_train": pixels(rng, 12, 3, 16, 16), "y_train": np.arange(12) % 3}
        arrays |= {"x_test": arrays["x_train"], "y_test": arrays["y_train"]}
        kept = {key: value for key, value in (arrays | changes).items() if value is not None}
        content = io.BytesIO()
        np.savez(content, **kept)
        path = tmp_path / "arrays.npz"
        path.write_bytes(content.getvalue())
        return path

    return write
