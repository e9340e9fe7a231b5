"""``data=npz`` with JPEG files in place of arrays."""

import io
import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from diswot.data.jpeg import JpegImages
from PIL import Image

from diswot.data.images import ArrayImages
from diswot.data.npz import NpzData
from diswot.errors import UserError

GIVEN = {"image_size": 32, "mean": [0.5], "std": [0.5]}


def jpeg_arrays(images: Sequence[np.ndarray], labels: Sequence[int]) -> dict[str, np.ndarray]:
    """JPEG files of images (H, W) or (H, W, 3), one after another."""
    files = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=95)
        files.append(file.getvalue())
    offsets = np.cumsum([0, *map(len, files)])
    content = np.frombuffer(b"".join(files), np.uint8)
    return {"bytes": content, "offsets": offsets, "labels": np.array(labels)}


def smooth(count: int, height: int, width: int) -> list[np.ndarray]:
    """Images that JPEG keeps nearly as they are."""
    rows, columns = np.mgrid[:height, :width]
    ramp = np.stack([rows, columns, rows + columns], axis=-1)
    return [(ramp + 9 * index).astype(np.uint8) for index in range(count)]


def write(path: Path, images: list[np.ndarray], **changes: np.ndarray | None) -> Path:
    arrays = jpeg_arrays(images, [index % 3 for index in range(len(images))]) | changes
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path


def test_small_images_are_decoded_once(tmp_path: Path) -> None:
    images = smooth(12, 16, 20)
    train = write(tmp_path / "a.npz", images)
    data = NpzData(path=train, test_path=write(tmp_path / "b.npz", images[:5]), batch_size=4)
    assert (data.name, data.num_classes, data.in_channels, data.image_size) == ("a", 3, 3, 16)
    stored, test = data.train_dataset(), data.test_dataset()
    assert isinstance(stored, ArrayImages)
    assert stored.images.shape == (12, 3, 16, 20)
    assert stored.labels.tolist() == [0, 1, 2] * 4
    expected = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    assert (stored.images.int() - expected.int()).abs().max() <= 4
    assert len(test) == 5
    assert torch.equal(test.pixels(4), stored.pixels(4))
    means = expected.double().mean((0, 2, 3)) / 255
    torch.testing.assert_close(torch.tensor(data.mean).double(), means, atol=0.005, rtol=0)


def test_grey_files_become_rgb(tmp_path: Path) -> None:
    grey = [image[:, :, 0] for image in smooth(4, 16, 16)]
    images = NpzData(path=write(tmp_path / "a.npz", grey), batch_size=4).train_dataset()
    assert images.pixels(1).shape == (3, 16, 16)
    assert torch.equal(images.pixels(1)[0], images.pixels(1)[2])


@pytest.mark.parametrize("shapes", [[(80, 70)] * 3, [(16, 16), (16, 16), (20, 16)]])
def test_other_images_are_decoded_when_asked_for(
    tmp_path: Path, shapes: list[tuple[int, int]]
) -> None:
    images = [smooth(1, *shape)[0] for shape in shapes]
    path = write(tmp_path / "a.npz", images)
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


def test_test_split_is_asked_for_when_it_is_needed(tmp_path: Path) -> None:
    data = NpzData(path=write(tmp_path / "a.npz", smooth(4, 16, 16)), batch_size=4)
    assert data.mini_batch(0).labels.shape == (4,)
    with pytest.raises(UserError, match=r"^data\.test_path: not given, and .*a\.npz holds JPEG"):
        data.test_dataset()


ARRAYS = jpeg_arrays(smooth(3, 16, 16), [0, 1, 2])
BYTES, OFFSETS = ARRAYS["bytes"], ARRAYS["offsets"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"offsets": None}, "it has no offsets"),
        ({"labels": None}, "it has no labels"),
        ({"labels": np.arange(4)}, r"labels is int64 \(4,\), not 3 whole numbers"),
        ({"labels": np.zeros(3)}, "labels is float64"),
        ({"bytes": BYTES.astype(np.int16)}, "bytes is int16"),
        ({"bytes": np.array([b"x"], dtype=object)}, "allow_pickle=False"),
        ({"offsets": OFFSETS.astype(float)}, "offsets is float64"),
        ({"offsets": np.array([0])}, r"offsets is int64 \(1,\)"),
        ({"offsets": OFFSETS + 1}, "offsets runs from 1 to"),
        ({"offsets": OFFSETS[1:], "labels": np.arange(2)}, "not from 0 to"),
        ({"offsets": OFFSETS[:-1], "labels": np.arange(2)}, "the length of bytes"),
        ({"bytes": BYTES[:-9]}, "the length of bytes"),
        ({"offsets": OFFSETS[[0, 2, 1, 3]]}, r"offsets\[2\]=\d+ does not lie 2 or more"),
        ({"offsets": OFFSETS[[0, 1, 1, 3]]}, r"beyond offsets\[1\]="),
        ({"offsets": OFFSETS[[0, 2, 1, 3]].astype(np.uint64)}, "does not lie 2 or more"),
        ({"offsets": OFFSETS + np.array([0, 0, 5, 0])}, r"no JPEG begins at offsets\[2\]="),
    ],
)
def test_bad_arrays(tmp_path: Path, changes: dict[str, np.ndarray | None], message: str) -> None:
    bad = write(tmp_path / "bad.npz", smooth(3, 16, 16), **changes)
    good = write(tmp_path / "good.npz", smooth(3, 16, 16))
    for setting, paths in (("path", (bad, good)), ("test_path", (good, bad))):
        pattern = rf"^data\.{setting}: .*bad\.npz cannot be used \(.*{message}"
        with pytest.raises(UserError, match=pattern) as caught:
            NpzData(path=paths[0], test_path=paths[1])
        assert "\n" not in str(caught.value)


def damaged(tmp_path: Path, side: int, cut: int) -> Path:
    """The second of three files lacks its end, or all but its first two bytes."""
    arrays = jpeg_arrays(
        [np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)] * 3, [0, 1, 2]
    )
    size = int(arrays["offsets"][1])
    left = size - cut if cut else 2
    content = np.delete(arrays["bytes"], slice(size + left, 2 * size))
    np.savez(
        tmp_path / "a.npz",
        bytes=content,
        offsets=np.cumsum([0, size, left, size]),
        labels=arrays["labels"],
    )
    return tmp_path / "a.npz"


@pytest.mark.parametrize("cut", [0, 40, 300])
def test_file_that_was_cut_short(tmp_path: Path, cut: int) -> None:
    pattern = r"^data\.path: .*a\.npz: image 1 is not a readable JPEG \(.*\); make or fetch"
    with pytest.raises(UserError, match=pattern):
        NpzData(path=damaged(tmp_path, 16, cut))
    images = NpzData(path=damaged(tmp_path, 70, cut), **GIVEN).train_dataset()
    with pytest.raises(UserError, match=pattern):
        images.image(1)
    assert images.image(2).isfinite().all()


@pytest.mark.data
def test_whole_of_cifar10_as_jpeg(data_root: Path) -> None:
    folder = data_root / "cifar10"
    test = folder / "cifar10_jpeg_test.npz"
    data = NpzData(path=test, test_path=test)
    assert torch.bincount(data.train_dataset().labels).tolist() == [1000] * 10
    mean = torch.tensor([0.4942, 0.4851, 0.4504])
    torch.testing.assert_close(torch.tensor(data.mean), mean, atol=0.003, rtol=0)
    with np.load(folder / "cifar10_mini.npz") as lossless:
        kept = lossless["x_test"].astype(np.float32)
    own = data.train_dataset().images.float()  # type: ignore[attr-defined]
    distance = torch.cdist(torch.from_numpy(kept[:50]).flatten(1), own.flatten(1)).min(1)
    labels = torch.from_numpy(np.load(folder / "cifar10_mini.npz")["y_test"][:50])
    assert torch.equal(data.train_dataset().labels[distance.indices], labels)
