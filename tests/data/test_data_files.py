"""The embedded data set and, where they are at hand, the files of DISWOT_DATA."""

import gzip
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from diswot.data.fashion import FashionMini
from diswot.data.folder import FolderData
from diswot.data.npz import NpzData

REPOSITORY = Path(__file__).resolve().parents[2]


def test_fashion_mini_is_complete_and_balanced() -> None:
    data = FashionMini(image_size=32, mean=[0.2860], std=[0.3530])
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


def test_the_build_tool_is_deterministic(sample: Path, tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location(
        "build_fashion_mini", REPOSITORY / "tools" / "build_fashion_mini.py"
    )
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    for prefix in ("train", "t10k"):
        images, labels = f"{prefix}-images-idx3-ubyte.gz", f"{prefix}-labels-idx1-ubyte"
        (tmp_path / images).write_bytes((sample / images).read_bytes())
        (tmp_path / f"{labels}.gz").write_bytes(gzip.compress((sample / labels).read_bytes()))
    outputs = [tmp_path / "one", tmp_path / "two"]
    for output in outputs:
        output.mkdir()
        arguments = [str(tmp_path), "--train", "3", "--test", "2", "--output", str(output)]
        tool.main(arguments)
        tool.main(arguments)
        assert len((output / "SHA256SUMS").read_text(encoding="utf-8").splitlines()) == 1
    first, second = ((output / "fashion_mini.npz").read_bytes() for output in outputs)
    assert first == second
    with np.load(outputs[0] / "fashion_mini.npz") as arrays:
        assert np.bincount(arrays["y_train"]).tolist() == [3] * 10
        assert np.bincount(arrays["y_test"]).tolist() == [2] * 10


@pytest.mark.data
def test_cifar10_mini(data_root: Path) -> None:
    data = NpzData(path=data_root / "cifar10" / "cifar10_mini.npz", balanced=True)
    assert (len(data.train_dataset()), len(data.test_dataset())) == (5000, 1000)
    assert (data.num_classes, data.image_size) == (10, 32)
    torch.testing.assert_close(
        torch.tensor(data.mean), torch.tensor([0.4914, 0.4822, 0.4465]), atol=0.01, rtol=0
    )
    assert torch.bincount(data.mini_batch(0).labels).min() >= 6


@pytest.mark.data
def test_imagenet_sample(data_root: Path) -> None:
    data = FolderData(
        root=data_root / "imagenet_sample",
        name="imagenet",
        num_classes=1000,
        image_size=224,
        crop=0.875,
        holdout=0.0,
        balanced=True,
        mean=[0.485, 0.456, 0.406],
        std=[0.229, 0.224, 0.225],
    )
    batch = data.mini_batch(0)
    assert batch.images.shape == (64, 3, 224, 224)
    assert len(batch.labels.unique()) == 64
    assert abs(float(batch.images.mean())) < 0.5
