"""Arrays and JPEG files in ``.npz`` archives."""

import io
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diswot.data import ArrayImages
from diswot.data.npz import JpegImages, NpzData
from diswot.errors import UserError

Write = Callable[..., Path]

GIVEN = {"image_size": 32, "mean": [0.5], "std": [0.5]}


def test_defaults_come_from_the_arrays(npz_file: Write) -> None:
    with pytest.raises(UserError, match=r"data\.num_classes: .* run from 0 to 2; .* 0 to 1"):
        NpzData(path=npz_file(), num_classes=2).train_dataset()
    data = NpzData(path=npz_file(), batch_size=12)
    assert (data.name, data.num_classes, data.in_channels, data.image_size) == ("arrays", 3, 3, 16)
    images = data.mini_batch(0).images.transpose(0, 1).flatten(1)
    torch.testing.assert_close(images.mean(1), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(images.std(1, correction=0), torch.ones(3), atol=1e-5, rtol=0)


def test_channels_last_is_understood_and_the_centre_cut(npz_file: Write) -> None:
    with np.load(npz_file()) as arrays:
        last = {key: arrays[key].transpose(0, 2, 3, 1) for key in ("x_train", "x_test")}
    first, same = (NpzData(path=npz_file(**each)).train_dataset() for each in ({}, last))
    assert torch.equal(first.images, same.images)
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
        ({"x_test": np.zeros((12, 1, 16, 16), np.uint8)}, "differ in channels: 3 and 1"),
        ({"y_train": np.zeros(11, np.int64)}, "not 12 whole numbers"),
        ({"y_train": np.zeros(12)}, "not 12 whole numbers"),
    ],
)
def test_bad_arrays(npz_file: Write, changes: dict[str, np.ndarray], message: str) -> None:
    path = npz_file(**changes)
    with pytest.raises(UserError, match=rf"data\.path: .*{message}"):
        NpzData(path=path)


def test_file_of_another_kind(tmp_path: Path) -> None:
    single = io.BytesIO()
    np.save(single, np.zeros(3))
    for content in (b"", b"no archive", b"PK\x03\x04 torn", single.getvalue(), None):
        path = tmp_path / ("nowhere.npz" if content is None else "a.npz")
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(UserError, match=rf"^data\.path: {path} cannot be used \("):
            NpzData(path=path)
    with pytest.raises(UserError, match=r"^data\.path: not given"):
        NpzData(path=None)


def test_one_file_a_split(npz_file: Write, tmp_path: Path) -> None:
    both = NpzData(path=npz_file(), batch_size=4)
    train = npz_file(x_test=None, y_test=None).rename(tmp_path / "train.npz")
    test = npz_file(x_train=None, y_train=None).rename(tmp_path / "test.npz")
    apart = NpzData(path=train, test_path=test, batch_size=4)
    assert apart.name == "train"
    for split in ("train_dataset", "test_dataset"):
        expected, read = getattr(both, split)(), getattr(apart, split)()
        assert torch.equal(read.images, expected.images)
        assert torch.equal(read.labels, expected.labels)
    with pytest.raises(UserError, match=r"data\.path: .*train\.npz .* no x_test, y_test"):
        NpzData(path=train)
    with pytest.raises(UserError, match=r"data\.test_path: .*train\.npz .* no x_test, y_test"):
        NpzData(path=train, test_path=train)
    grey = npz_file(x_test=np.zeros((12, 1, 16, 16), np.uint8))
    with pytest.raises(UserError, match=r"data\.test_path: .*differ in channels: 3 and 1"):
        NpzData(path=train, test_path=grey)


def jpegs(*images: np.ndarray) -> dict[str, np.ndarray]:
    """JPEG files of images (H, W) or (H, W, 3), one after another, of three classes in turn."""
    files = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=95)
        files.append(file.getvalue())
    return {
        "bytes": np.frombuffer(b"".join(files), np.uint8),
        "offsets": np.cumsum([0, *map(len, files)]),
        "labels": np.arange(len(images)) % 3,
    }


def smooth(count: int, height: int, width: int) -> list[np.ndarray]:
    """Images that JPEG keeps nearly as they are."""
    rows, columns = np.mgrid[:height, :width]
    ramp = np.stack([rows, columns, rows + columns], axis=-1)
    return [(ramp + 9 * index).astype(np.uint8) for index in range(count)]


def write(path: Path, arrays: dict[str, np.ndarray], **changes: np.ndarray | None) -> Path:
    np.savez(path, **{k: value for k, value in (arrays | changes).items() if value is not None})
    return path


def test_small_jpeg_files_are_decoded_once(tmp_path: Path) -> None:
    images = smooth(12, 16, 20)
    train = write(tmp_path / "a.npz", jpegs(*images))
    test = write(tmp_path / "b.npz", jpegs(*images[:5]))
    data = NpzData(path=train, test_path=test, batch_size=4)
    assert (data.name, data.num_classes, data.in_channels, data.image_size) == ("a", 3, 3, 16)
    stored = data.train_dataset()
    assert isinstance(stored, ArrayImages)
    assert stored.labels.tolist() == [0, 1, 2] * 4
    expected = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    assert (stored.images.int() - expected.int()).abs().max() <= 4
    assert len(data.test_dataset()) == 5
    assert torch.equal(data.test_dataset().pixels(4), stored.pixels(4))
    means = expected.double().mean((0, 2, 3)) / 255
    torch.testing.assert_close(torch.tensor(data.mean).double(), means, atol=0.005, rtol=0)


def test_grey_files_become_rgb_and_the_test_split_is_asked_for_late(tmp_path: Path) -> None:
    grey = jpegs(*(image[:, :, 0] for image in smooth(4, 16, 16)))
    data = NpzData(path=write(tmp_path / "a.npz", grey), batch_size=4)
    image = data.train_dataset().pixels(1)
    assert image.shape == (3, 16, 16)
    assert torch.equal(image[0], image[2])
    with pytest.raises(UserError, match=r"^data\.test_path: not given, and .*a\.npz holds JPEG"):
        data.test_dataset()


@pytest.mark.parametrize("shapes", [[(80, 70)] * 3, [(16, 16), (16, 16), (20, 16)]])
def test_other_jpeg_files_are_decoded_when_asked_for(
    tmp_path: Path, shapes: list[tuple[int, int]]
) -> None:
    path = write(tmp_path / "a.npz", jpegs(*(smooth(1, *shape)[0] for shape in shapes)))
    data = NpzData(path=path, test_path=path, batch_size=3, **GIVEN)
    stored = data.train_dataset()
    assert isinstance(stored, JpegImages)
    assert [stored.pixels(i).shape for i in range(3)] == [(3, *shape) for shape in shapes]
    assert data.mini_batch(0).images.shape == (3, 3, 32, 32)
    copy = pickle.loads(pickle.dumps(stored))
    assert torch.equal(copy.image(2), stored.image(2))
    pattern = r"^data\.image_size, data\.mean, data\.std: .*not all of one size up to 64 pixels"
    with pytest.raises(UserError, match=pattern):
        NpzData(path=path, test_path=path, mean=[0.5])


GOOD = jpegs(*smooth(3, 16, 16))
BYTES, OFFSETS = GOOD["bytes"], GOOD["offsets"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"offsets": None}, "it has no offsets"),
        ({"labels": np.arange(4)}, r"labels is int64 \(4,\), not 3 whole numbers"),
        ({"bytes": BYTES.astype(np.int16)}, "bytes is int16"),
        ({"bytes": np.array([b"x"], dtype=object)}, "allow_pickle=False"),
        ({"offsets": OFFSETS.astype(float)}, "offsets is float64"),
        ({"offsets": np.array([0])}, r"offsets is int64 \(1,\)"),
        ({"offsets": OFFSETS + 1}, "offsets runs from 1 to"),
        ({"offsets": OFFSETS[:-1], "labels": np.arange(2)}, "the length of bytes"),
        ({"bytes": BYTES[:-9]}, "the length of bytes"),
        ({"offsets": OFFSETS[[0, 1, 1, 3]].astype(np.uint64)}, "it has to grow from 0"),
    ],
)
def test_bad_jpeg_arrays(tmp_path: Path, changes: dict[str, np.ndarray], message: str) -> None:
    bad, good = write(tmp_path / "bad.npz", GOOD, **changes), write(tmp_path / "good.npz", GOOD)
    for setting, paths in (("path", (bad, good)), ("test_path", (good, bad))):
        pattern = rf"^data\.{setting}: .*bad\.npz cannot be used \(.*{message}"
        with pytest.raises(UserError, match=pattern) as caught:
            NpzData(path=paths[0], test_path=paths[1])
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("side", [16, 70])
@pytest.mark.parametrize("left", [2, -40, -300])
def test_jpeg_that_was_cut_short(tmp_path: Path, side: int, left: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    whole = jpegs(noise)["bytes"]
    files = [whole, whole[:left], whole]
    arrays = {"bytes": np.concatenate(files), "offsets": np.cumsum([0, *map(len, files)])}
    path = write(tmp_path / "a.npz", arrays, labels=np.arange(3))
    pattern = r"^data\.path: .*a\.npz: image 1 is not a readable JPEG \(.*\); make or fetch"
    with pytest.raises(UserError, match=pattern):
        NpzData(path=path, **GIVEN).train_dataset().image(1)
    if side == 70:
        assert NpzData(path=path, **GIVEN).train_dataset().image(2).isfinite().all()


@pytest.mark.data
def test_cifar10_of_the_shared_folder(data_root: Path) -> None:
    folder = data_root / "cifar10"
    lossless = NpzData(path=folder / "cifar10_mini.npz", balanced=True)
    assert (len(lossless.train_dataset()), len(lossless.test_dataset())) == (5000, 1000)
    assert (lossless.num_classes, lossless.image_size) == (10, 32)
    mean = torch.tensor([0.4914, 0.4822, 0.4465])
    torch.testing.assert_close(torch.tensor(lossless.mean), mean, atol=0.01, rtol=0)
    assert torch.bincount(lossless.mini_batch(0).labels).min() >= 6
    jpeg = NpzData(path=folder / "cifar10_jpeg_test.npz").train_dataset()
    assert torch.bincount(jpeg.labels).tolist() == [1000] * 10
    some = lossless.test_dataset().fitted(torch.arange(50)).float().flatten(1)
    nearest = torch.cdist(some, jpeg.images.float().flatten(1)).argmin(1)  # type: ignore[attr-defined]
    assert torch.equal(jpeg.labels[nearest], lossless.test_dataset().labels[:50])
