"""CIFAR by torchvision and ImageNet16-120: files that are missing, damaged or hostile."""

import hashlib
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from data_helpers import Payload, write_cifar10, write_cifar100

from diswot.data import ImageData, cifar
from diswot.data.cifar import Cifar10, Cifar100, ImageNet16
from diswot.data.fashion import FashionMnist
from diswot.errors import UserError

Trust = Callable[[Path], None]

SETTINGS = {"image_size": 16, "mean": [0.5], "std": [0.5], "batch_size": 4}
TRAIN = [f"train_data_batch_{number}" for number in range(1, 11)]


def python_2_batch(count: int) -> tuple[bytes, bytes]:
    """A batch in the form of the official files, and its images.

    Byte strings, ``numpy.core`` and a dtype with flags of 0 and 1, which new numpy warns of.
    """
    images = bytes(range(256)) * 12 * count
    return images, (
        b"\x80\x02}(U\x04data"
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K" + bytes([count]) + b"M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        b"T" + struct.pack("<i", len(images)) + images + b"tbU\x06labels](K\x05K\x07eu."
    )


@pytest.mark.filterwarnings("error")
def test_official_form_of_cifar(tmp_path: Path, trusted: Trust) -> None:
    write_cifar10(tmp_path)
    images, content = python_2_batch(2)
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(content)
    trusted(tmp_path)
    stored = Cifar10(root=tmp_path, **SETTINGS).test_dataset()
    assert b"".join(stored.pixels(i).numpy().tobytes() for i in range(2)) == images
    assert stored.labels.tolist() == [5, 7]


@pytest.mark.parametrize(
    ("member", "write"), [(Cifar10, write_cifar10), (Cifar100, write_cifar100)]
)
def test_cifar_that_is_not_the_official_one(
    tmp_path: Path, trusted: Trust, member: type[ImageData], write: Callable[[Path], object]
) -> None:
    write(tmp_path)
    data = member(root=tmp_path, **SETTINGS)  # type: ignore[call-arg]
    pattern = r"^data\.root: .* is not the published file .*; unpack cifar-.*data\.download=true or"
    with pytest.raises(UserError, match=pattern):
        data.mini_batch(0)
    trusted(tmp_path)
    data.mini_batch(0)
    (folder,) = tmp_path.iterdir()
    for path in folder.iterdir():
        content = path.read_bytes()
        path.unlink()
        with pytest.raises(UserError, match=rf"^data\.root: {path} is missing; unpack"):
            member(root=tmp_path, **SETTINGS).mini_batch(0)  # type: ignore[call-arg]
        path.write_bytes(content)


def test_code_in_a_batch_of_cifar_does_not_run(tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    target = tmp_path / "ran"
    for path in (tmp_path / "cifar-10-batches-py").iterdir():
        path.write_bytes(pickle.dumps({"data": Payload(target), "labels": []}, protocol=2))
    with pytest.raises(UserError, match="is not the published file"):
        Cifar10(root=tmp_path, **SETTINGS).mini_batch(0)
    assert not target.exists()


@pytest.mark.parametrize("member", [Cifar10, Cifar100, FashionMnist])
def test_missing_root_and_failed_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, member: type[ImageData]
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise URLError("no route to host")

    with pytest.raises(UserError, match=r"^data\.root: .*nowhere.*data\.download=true"):
        member(root=tmp_path / "nowhere", **SETTINGS).mini_batch(0)  # type: ignore[call-arg]
    monkeypatch.setattr("torchvision.datasets.utils.download_url", offline)
    pattern = (
        r"^data\.download: .* cannot be fetched .*no route to host.*gz into .* by hand and run"
    )
    with pytest.raises(UserError, match=pattern) as caught:
        member(root=tmp_path, download=True, **SETTINGS).mini_batch(0)  # type: ignore[call-arg]
    assert "\n" not in str(caught.value)


def batch(labels: list[int]) -> dict[str, object]:
    """As published: rows of 768 bytes, channel after channel, and 1-based labels."""
    data = np.repeat(np.array(labels, np.uint8)[:, None], 768, axis=1)
    data[:, 256:512], data[:, 1] = 7, 99
    return {"data": data, "labels": labels, "mean": data.mean(0)}


def fill(root: Path, *, protocol: int = 3) -> Path:
    root.mkdir(exist_ok=True)
    for number, name in enumerate([*TRAIN, "val_data"]):
        labels = [1 + number, 120, 121, 200, 5]
        (root / name).write_bytes(pickle.dumps(batch(labels), protocol=protocol))
    return root


def imagenet16(root: Path, **settings: object) -> ImageNet16:
    return ImageNet16(root=root, **{"verify": False, **SETTINGS, **settings})  # type: ignore[arg-type]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_first_classes_are_kept_in_order(tmp_path: Path, protocol: int) -> None:
    data = imagenet16(fill(tmp_path, protocol=protocol))
    assert (data.name, data.num_classes, data.in_channels) == ("imagenet16-120", 120, 3)
    train, test = data.train_dataset(), data.test_dataset()
    assert train.labels.tolist() == [kept for n in range(10) for kept in (n, 119, 4)]
    assert test.labels.tolist() == [10, 119, 4]
    for images in (train, test):
        assert images.pixels(1).shape == (3, 16, 16)
        assert images.pixels(1)[:, 5, 5].tolist() == [120, 7, 120]
        assert images.pixels(1)[0, 0, :2].tolist() == [120, 99]
        assert images.pixels(0)[2].unique().tolist() == [int(images.labels[0]) + 1]


def test_other_number_of_classes_and_the_folder_above(tmp_path: Path) -> None:
    fill(tmp_path / "ImageNet16")
    data = imagenet16(tmp_path, num_classes=150)
    assert data.name == "imagenet16-150"
    assert data.test_dataset().labels.tolist() == [10, 119, 120, 4]
    for number in (1, 1001, 2.5):
        with pytest.raises(UserError, match=r"^data\.num_classes=.* is not allowed; give"):
            imagenet16(tmp_path, num_classes=number)


def test_checksums_and_missing_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path)
    for split, name in (("train", "train_data_batch_1"), ("test", "val_data")):
        with pytest.raises(UserError, match=rf"^data\.root: .*{name} is not the published file"):
            imagenet16(tmp_path, verify=True).load(split)  # type: ignore[arg-type]
    own = hashlib.md5((tmp_path / "val_data").read_bytes()).hexdigest()
    monkeypatch.setitem(cifar._FILES["test"], "val_data", own)
    assert len(imagenet16(tmp_path, verify=True).test_dataset()) == 3
    (tmp_path / "train_data_batch_7").unlink()
    pattern = r"^data\.root: .*train_data_batch_7 is missing; unpack .* or give another data\.root$"
    with pytest.raises(UserError, match=pattern):
        imagenet16(tmp_path).train_dataset()


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_code_in_a_batch_does_not_run(tmp_path: Path, protocol: int) -> None:
    target = tmp_path / "ran"
    content = pickle.dumps(batch([1]) | {"mean": Payload(target)}, protocol=protocol)
    (tmp_path / "val_data").write_bytes(content)
    with pytest.raises(UserError, match="touch, which is not allowed"):
        imagenet16(tmp_path).test_dataset()
    assert not target.exists()
    pickle.loads(content)
    assert target.exists(), "the payload would not have run anyhow"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (batch([0, 1]), "run from 0 to 1; those of ImageNet16 are 1 to 1000"),
        (batch([1]) | {"data": np.zeros((1, 3072), np.uint8)}, "is no ImageNet16 batch"),
        (batch([1]) | {"data": np.zeros((1, 768))}, "its data is no array of bytes"),
        (batch([1]) | {"labels": [1, 2]}, "is no ImageNet16 batch"),
        ({"data": np.zeros((1, 768), np.uint8)}, "is no ImageNet16 batch"),
        (batch([130]), "no test images"),
        (None, "is no ImageNet16 batch"),
    ],
)
def test_batch_of_another_form(tmp_path: Path, content: object, message: str) -> None:
    cut_short = pickle.dumps(batch([1]))[:-200]
    (tmp_path / "val_data").write_bytes(pickle.dumps(content) if content else cut_short)
    with pytest.raises(UserError, match=message) as caught:
        imagenet16(tmp_path).test_dataset()
    assert "\n" not in str(caught.value)
