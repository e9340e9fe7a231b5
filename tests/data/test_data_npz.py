from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from diswot.data.npz import NpzData
from diswot.errors import UserError

Write = Callable[..., Path]


def test_defaults_come_from_the_arrays(npz_file: Write) -> None:
    data = NpzData(path=npz_file(), batch_size=12)
    assert (data.name, data.num_classes, data.in_channels, data.image_size) == ("arrays", 3, 3, 16)
    images = data.mini_batch(0).images
    torch.testing.assert_close(images.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        images.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-5, rtol=0
    )


def test_channels_last_is_understood(npz_file: Write) -> None:
    with np.load(npz_file()) as arrays:
        first = dict(arrays)
    expected = NpzData(path=npz_file(), batch_size=8).mini_batch(0)
    last = {key: first[key].transpose(0, 2, 3, 1) for key in ("x_train", "x_test")}
    found = NpzData(path=npz_file(**last), batch_size=8).mini_batch(0)
    assert torch.equal(found.images, expected.images)


def test_images_that_are_not_square_are_cut(npz_file: Write) -> None:
    wide = np.zeros((12, 1, 10, 14), np.uint8)
    data = NpzData(path=npz_file(x_train=wide, x_test=wide), batch_size=2)
    assert data.mini_batch(0).images.shape == (2, 1, 10, 10)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_test": None}, "it has no y_test"),
        ({"y_train": np.array([{}] * 12, dtype=object)}, "allow_pickle=False"),
        ({"x_train": np.zeros((12, 3, 16, 16), np.float32)}, "x_train is float32"),
        ({"x_train": np.zeros((12, 16, 16), np.uint8)}, "not uint8 with 4 dimensions"),
        ({"x_train": np.zeros((12, 5, 16, 16), np.uint8)}, "no axis of 1 or 3 channels"),
        ({"x_test": np.zeros((12, 1, 16, 16), np.uint8)}, "differ in channels"),
        ({"y_train": np.zeros(11, np.int64)}, "not 12 whole numbers"),
        ({"y_train": np.zeros(12)}, "not 12 whole numbers"),
    ],
)
def test_bad_arrays(npz_file: Write, changes: dict[str, np.ndarray], message: str) -> None:
    path = npz_file(**changes)
    with pytest.raises(UserError, match=rf"data\.path: .*{message}"):
        NpzData(path=path)


def test_labels_beyond_num_classes(npz_file: Write) -> None:
    with pytest.raises(UserError, match=r"data\.num_classes: .* run from 0 to 2; .* 0 to 1"):
        NpzData(path=npz_file(), num_classes=2, batch_size=2).mini_batch(0)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 torn"])
def test_file_of_another_kind(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"data\.path: .* cannot be used"):
        NpzData(path=path)


def test_single_array_and_missing_file(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(3))
    with pytest.raises(UserError, match=r"it is no \.npz archive"):
        NpzData(path=tmp_path / "a.npy")
    with pytest.raises(UserError, match=r"data\.path: .*nowhere"):
        NpzData(path=tmp_path / "nowhere.npz")
    with pytest.raises(UserError, match=r"data\.path: not given"):
        NpzData(path=None)


def test_one_file_a_split(npz_file: Write, tmp_path: Path) -> None:
    both = NpzData(path=npz_file(), batch_size=4)
    train = npz_file(x_test=None, y_test=None).rename(tmp_path / "train.npz")
    test = npz_file(x_train=None, y_train=None).rename(tmp_path / "test.npz")
    apart = NpzData(path=train, test_path=test, batch_size=4)
    assert apart.name == "train"
    for split in ("train_dataset", "test_dataset"):
        expected, found = getattr(both, split)(), getattr(apart, split)()
        assert torch.equal(found.images, expected.images)
        assert torch.equal(found.labels, expected.labels)
    with pytest.raises(UserError, match=r"data\.path: .*train\.npz .* no x_test, y_test"):
        NpzData(path=train)
    with pytest.raises(UserError, match=r"data\.test_path: .*train\.npz .* no x_test, y_test"):
        NpzData(path=train, test_path=train)
    with pytest.raises(UserError, match=r"data\.test_path: .*nowhere"):
        NpzData(path=train, test_path=tmp_path / "nowhere.npz")


def test_splits_that_differ_in_channels(npz_file: Write, tmp_path: Path) -> None:
    train = npz_file().rename(tmp_path / "train.npz")
    test = npz_file(x_test=np.zeros((12, 1, 16, 16), np.uint8))
    with pytest.raises(UserError, match=r"data\.test_path: .*differ in channels: 3 and 1"):
        NpzData(path=train, test_path=test)
