"""Fashion-MNIST: the embedded subset, the whole, and files of the package."""

import gzip
import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from data_helpers import idx_bytes, write_fashion_mnist

from diswot.data import read_asset
from diswot.data.fashion import FashionMini, FashionMnist, read_idx
from diswot.errors import UserError

SETTINGS = {"image_size": 32, "mean": [0.2860], "std": [0.3530]}


def test_fashion_mini_is_complete_and_balanced() -> None:
    data = FashionMini(**SETTINGS)
    train, test = data.train_dataset(), data.test_dataset()
    assert torch.bincount(train.labels).tolist() == [1000] * 10
    assert torch.bincount(test.labels).tolist() == [200] * 10
    images = torch.stack([train.image(index) for index in range(0, 10_000, 10)])
    black = (0 - 0.2860) / 0.3530
    torch.testing.assert_close(images[:, :, :2], torch.full_like(images[:, :, :2], black))
    inner = images[:, :, 2:30, 2:30]
    assert abs(float(inner.mean())) < 0.03
    assert abs(float(inner.std()) - 1) < 0.03
    assert torch.equal(images[:, 0], images[:, 2])


@pytest.mark.slow
def test_embedded_images_need_no_torchvision() -> None:
    program = (
        "import sys; sys.modules['torchvision'] = None\n"
        "from diswot.data.fashion import FashionMini\n"
        f"print(FashionMini(**{SETTINGS}).mini_batch(0).images.shape[0])"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "64\n"


def test_layout_of_torchvision_and_images_outside_the_subset(tmp_path: Path) -> None:
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    labels = np.arange(2100, dtype=np.uint8) % 2
    images = np.broadcast_to(labels[:, None, None], (2100, 28, 28)).copy()
    images[2000:] += 10
    (raw / "train-images-idx3-ubyte").write_bytes(idx_bytes(images))
    (raw / "train-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
    assert len(FashionMnist(root=tmp_path, **SETTINGS).train_dataset()) == 2100
    kept = FashionMnist(root=tmp_path, outside_mini=True, **SETTINGS).train_dataset()
    assert kept.labels.tolist() == [0, 1] * 50
    assert kept.pixels(3)[:, 2:-2, 2:-2].unique().tolist() == [11]
    (raw / "train-labels-idx1-ubyte").write_bytes(idx_bytes(labels[:9]))
    with pytest.raises(UserError, match=r"have the shape \(2100, 28, 28\); 9 labels go with"):
        FashionMnist(root=tmp_path, **SETTINGS).train_dataset()


@pytest.mark.parametrize(
    "content",
    [
        bytes([0, 0, 8, 1, 0, 0, 0, 9, 1, 2]),
        bytes([0, 0, 8, 1, 0, 0]),
        bytes([0, 0, 13, 1, 0, 0, 0, 0]),
        bytes([0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 1, 5]),
        b"no idx file",
        b"",
        None,
    ],
)
def test_bad_idx(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "t10k-labels-idx1-ubyte"
    if content is None:
        path = path.with_suffix(".gz")
        content = gzip.compress(bytes(1000))[:-12]
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"^data\.root: {path} is no whole idx file .*; fetch"):
        read_idx(path)


def test_the_build_tool_is_deterministic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "tools"))
    tool = importlib.import_module("build_fashion_mini")
    write_fashion_mnist(tmp_path)
    for labels in tmp_path.glob("*-labels-idx1-ubyte"):
        (tmp_path / f"{labels.name}.gz").write_bytes(gzip.compress(labels.read_bytes()))
    arguments = [str(tmp_path), "--train", "3", "--test", "2", "--output", str(tmp_path)]
    tool.main(arguments)
    first = (tmp_path / "fashion_mini.npz").read_bytes()
    tool.main(arguments)
    assert len((tmp_path / "SHA256SUMS").read_text(encoding="utf-8").splitlines()) == 1
    assert (tmp_path / "fashion_mini.npz").read_bytes() == first
    with np.load(tmp_path / "fashion_mini.npz") as arrays:
        assert np.bincount(arrays["y_train"]).tolist() == [3] * 10
        assert np.bincount(arrays["y_test"]).tolist() == [2] * 10


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"changed", r"its sha256 is .* but SHA256SUMS says 0000"), (None, "cannot be read")],
)
def test_asset_that_was_changed_or_is_missing(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    if content:
        (tmp_path / "a.npz").write_bytes(content)
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  a.npz\n", encoding="utf-8")
    with pytest.raises(UserError, match=message):
        read_asset("a.npz", tmp_path)
