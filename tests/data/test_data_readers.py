"""Files that are missing, damaged or hostile."""

import gzip
import pickle
import struct
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from diswot.data._assets import read_asset
from diswot.data._batches import read_batch
from diswot.data._idx import read_idx

from diswot.data.cifar import Cifar10
from diswot.data.fashion import FashionMnist
from diswot.errors import UserError

SETTINGS = {"image_size": 32, "mean": [0.5], "std": [0.5]}


def test_idx_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, *range(6)])))
    assert read_idx(path, dims=2).tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (bytes([0, 0, 8, 1, 0, 0, 0, 9, 1, 2]), "holds 2 bytes, but its header promises 9"),
        (bytes([0, 0, 8, 1, 0, 0]), "ends within its header"),
        (bytes([0, 0, 13, 1, 0, 0, 0, 0]), "begins with 00 00 0d 01"),
        (b"", "begins with nothing"),
    ],
)
def test_bad_idx(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "labels"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_idx(path, dims=1)


def test_truncated_gzip(tmp_path: Path) -> None:
    path = tmp_path / "labels.gz"
    path.write_bytes(gzip.compress(bytes(1000))[:-12])
    with pytest.raises(UserError, match="cannot be read"):
        read_idx(path, dims=1)


class _Payload:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return (_touch, (str(self.target), "ran"))


def _touch(path: str, text: str) -> None:
    Path(path).write_text(text, encoding="utf-8")


def test_code_in_a_batch_does_not_run(tmp_path: Path) -> None:
    path, target = tmp_path / "batch", tmp_path / "ran"
    path.write_bytes(pickle.dumps({"data": _Payload(target), "labels": []}, protocol=2))
    with pytest.raises(UserError, match="_touch, which is not allowed"):
        read_batch(path, "labels")
    assert not target.exists()


@pytest.mark.filterwarnings("error")
def test_batch_written_by_python_2(tmp_path: Path) -> None:
    """The official files: byte strings, ``numpy.core`` and a dtype with flags of 0 and 1."""
    images = bytes(range(256)) * 24
    (tmp_path / "batch").write_bytes(
        b"\x80\x02}(U\x04data"
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        + b"T"
        + struct.pack("<i", len(images))
        + images
        + b"tbU\x06labels](K\x05K\x07eu."
    )
    found, labels = read_batch(tmp_path / "batch", "labels")
    assert found.shape == (2, 3, 32, 32)
    assert found.tobytes() == images
    assert labels.tolist() == [5, 7]


@pytest.mark.parametrize(
    "batch",
    [
        {"data": np.zeros((2, 3072), np.uint8), "labels": [0]},
        {"data": np.zeros((2, 3072), np.float32), "labels": [0, 1]},
        {"data": np.zeros((2, 3072), np.uint8)},
        ["no", "dict"],
    ],
)
def test_batch_of_another_form(tmp_path: Path, batch: object) -> None:
    path = tmp_path / "batch"
    path.write_bytes(pickle.dumps(batch, protocol=2))
    with pytest.raises(UserError, match="is no CIFAR batch"):
        read_batch(path, "labels")


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("order", ["C", "F"])
def test_batch_of_any_protocol(tmp_path: Path, protocol: int, order: str) -> None:
    path, data = tmp_path / "batch", np.arange(2 * 3072).reshape(2, 3072).astype(np.uint8, order)
    path.write_bytes(pickle.dumps({"data": data, "labels": [3, 4]}, protocol=protocol))
    images, labels = read_batch(path, "labels")
    assert np.array_equal(images, data.reshape(2, 3, 32, 32))
    assert labels.tolist() == [3, 4]


def test_truncated_batch(tmp_path: Path) -> None:
    path = tmp_path / "batch"
    content = pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1]}, protocol=2)
    path.write_bytes(content[:-50])
    with pytest.raises(UserError, match="is no CIFAR batch"):
        read_batch(path, "labels")


def test_unofficial_cifar_is_refused(sample: Path) -> None:
    with pytest.raises(UserError, match=r"data_batch_1 is not the official file"):
        Cifar10(root=sample, **SETTINGS).mini_batch(0)


@pytest.mark.parametrize("member", [Cifar10, FashionMnist])
def test_missing_root(tmp_path: Path, member: type[Cifar10 | FashionMnist]) -> None:
    with pytest.raises(UserError, match=r"data\.root: .*nowhere.*data\.download=true"):
        member(root=tmp_path / "nowhere", **SETTINGS).mini_batch(0)


@pytest.mark.parametrize("member", [Cifar10, FashionMnist])
def test_failed_download_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, member: type[Cifar10 | FashionMnist]
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr("torchvision.datasets.utils.download_url", offline)
    pattern = r"data\.download: http.*no route to host.*gz into .* by hand"
    with pytest.raises(UserError, match=pattern):
        member(root=tmp_path, download=True, **SETTINGS).mini_batch(0)


def test_asset_that_was_changed(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"changed")
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  a.npz\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"its sha256 is .* but SHA256SUMS says 0000"):
        read_asset("a.npz", tmp_path)


def test_asset_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_asset("a.npz", tmp_path)
