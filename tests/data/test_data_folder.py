"""Folders with one sub-folder of images a class."""

from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from PIL import Image

from diswot import _torchvision
from diswot.data.folder import FolderData
from diswot.errors import UserError

SETTINGS = {"image_size": 16, "mean": [0.0], "std": [1.0], "batch_size": 4}


def fill(folder: Path, classes: int, images: int) -> Path:
    for label in range(classes):
        (folder / f"c{label}").mkdir(parents=True)
        for index in range(images):
            colour = (40 * label, 10 * index, 0)
            Image.new("RGB", (24, 20), colour).save(folder / f"c{label}" / f"{index}.png")
    return folder


def test_flat_folder_holds_images_out(tmp_path: Path) -> None:
    data = FolderData(root=fill(tmp_path, 3, 20), holdout=0.25, **SETTINGS)
    train, test = data.train_dataset(), data.test_dataset()
    assert len(train) + len(test) == 60
    assert 5 <= len(test) <= 25
    fill(tmp_path / "c0" / "more", 1, 5)
    again = FolderData(root=tmp_path, holdout=0.25, **SETTINGS).test_dataset()
    assert set(test.paths) <= set(again.paths)  # type: ignore[attr-defined]


def test_test_folder_serves_where_val_is_missing(tmp_path: Path) -> None:
    fill(tmp_path / "train", 2, 3)
    fill(tmp_path / "test", 2, 2)
    data = FolderData(root=tmp_path, **SETTINGS)
    assert (len(data.train_dataset()), len(data.test_dataset())) == (6, 4)
    flat = FolderData(root=tmp_path / "train", holdout=0.0, **SETTINGS)
    assert len(flat.train_dataset()) == 6
    with pytest.raises(UserError, match=r"has no test images .* data\.holdout=0"):
        flat.test_dataset()


def test_only_the_chosen_images_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Mock(wraps=Image.open)
    monkeypatch.setattr(Image, "open", opened)
    FolderData(root=fill(tmp_path, 3, 20), balanced=True, **SETTINGS).mini_batch(0)
    assert opened.call_count == 4


def test_short_side_is_resized_and_the_centre_cut(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    image = Image.new("RGB", (60, 20), (255, 0, 0))
    image.paste((0, 255, 0), (20, 0, 40, 20))
    image.save(tmp_path / "a" / "0.png")
    data = FolderData(root=tmp_path, holdout=0.0, **{**SETTINGS, "image_size": 10})
    pixels, label = data.train_dataset()[0]
    assert label == 0
    expected = torch.tensor([0.0, 1.0, 0.0])[:, None, None].expand(3, 10, 8)
    torch.testing.assert_close(pixels[:, :, 1:9], expected)


def test_grey_and_palette_images_become_rgb(tmp_path: Path) -> None:
    fill(tmp_path, 2, 1)
    for mode in ("L", "P", "RGBA", "CMYK"):
        suffix = "tif" if mode == "CMYK" else "png"
        Image.new(mode, (20, 20)).save(tmp_path / "c0" / f"{mode}.{suffix}")
    data = FolderData(root=tmp_path, holdout=0.0, **{**SETTINGS, "batch_size": 6})
    assert data.mini_batch(0).images.shape == (6, 3, 16, 16)


@pytest.mark.parametrize("name", ["1.jpg", "1.png", "0.png"])
def test_image_that_is_damaged_is_named(tmp_path: Path, name: str) -> None:
    fill(tmp_path, 2, 1)
    path = tmp_path / "c1" / name
    noise = torch.randint(256, (40, 40, 3), generator=torch.Generator().manual_seed(0))
    Image.fromarray(noise.to(torch.uint8).numpy()).save(path)
    path.write_bytes(b"no image" if name == "0.png" else path.read_bytes()[:-400])
    images = FolderData(root=tmp_path, holdout=0.0, **SETTINGS).train_dataset()
    pattern = rf"^data\.root: {path} is not a readable image \(.*\); replace or remove it$"
    with pytest.raises(UserError, match=pattern):
        images.pixels(len(images) - 1)


def test_classes_are_those_of_image_folder_and_folders_come_before_those_below(
    tmp_path: Path,
) -> None:
    for below in ("", "c1", "c1/x", "c1/x-1", "c1/x/y"):
        fill(tmp_path / below, 2, 1)
    (tmp_path / ".hidden").mkdir()
    images = FolderData(root=tmp_path, holdout=0.0, **SETTINGS).train_dataset()
    _torchvision.ensure()
    from torchvision.datasets import ImageFolder

    samples = ImageFolder(tmp_path, allow_empty=True).samples
    paths = images.paths  # type: ignore[attr-defined]
    labels = (images.labels + 1).tolist()
    assert set(zip(paths, labels, strict=True)) == set(samples)
    folders = [Path(path).parent.relative_to(tmp_path).parts for path in paths]
    assert folders == sorted(folders)
    assert len(paths) == 10


def test_bad_folders(tmp_path: Path) -> None:
    def refused(message: str, root: Path | None = tmp_path, **settings: int) -> None:
        with pytest.raises(UserError, match=message):
            FolderData(root=root, **SETTINGS, **settings).load("test")

    refused(r"data\.root: not given", None)
    refused(r"data\.root: .*nowhere does not exist; give", tmp_path / "nowhere")
    refused("has no sub-folders")
    (tmp_path / "a").mkdir()
    refused("has one class, a, and at least two are needed; give")
    (tmp_path / "b").mkdir()
    refused("has no test images")
    fill(tmp_path / "train", 2, 2)
    fill(tmp_path / "val", 3, 2)
    refused("c2 is a class that the train folder lacks")
    refused(r"has 2 classes, not 1000; give data\.num_classes=2", num_classes=1000)


@pytest.mark.data
def test_imagenet_sample(data_root: Path) -> None:
    data = FolderData(
        root=data_root / "imagenet_sample",
        num_classes=1000,
        holdout=0.0,
        crop=0.875,
        balanced=True,
        **{"image_size": 224, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
    )
    batch = data.mini_batch(0)
    assert batch.images.shape == (64, 3, 224, 224)
    assert len(batch.labels.unique()) == 64
    assert abs(float(batch.images.mean())) < 0.5
