"""Rules that every member of conf/data keeps, found by listing, and the choice of images."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from diswot.data import ArrayImages, ImageData
from diswot.errors import UserError

CONF = Path(__file__).resolve().parents[2] / "conf" / "data"
MEMBERS = sorted(path.stem for path in CONF.glob("*.yaml"))

Make = Callable[..., ImageData]
Sample = Callable[[str], dict[str, object] | None]


@pytest.fixture(params=MEMBERS)
def make(request: pytest.FixtureRequest, sample: Sample, trusted: Callable[[Path], None]) -> Make:
    """Instantiates one member, on a sample of its files if it reads any."""
    config = OmegaConf.load(CONF / f"{request.param}.yaml")
    overrides = sample(request.param)
    if overrides is None and {"root", "path"} & config.keys():
        pytest.skip(f"data_helpers.py has no write_{request.param}: no files to read")
    overrides = {"batch_size": 12, **(overrides or {})}
    trusted(Path(str(overrides.get("root", ""))))

    def build(**settings: object) -> ImageData:
        unknown = settings.keys() - config.keys()
        assert not unknown, f"{request.param}.yaml does not list {unknown}"
        return instantiate(OmegaConf.merge(config, overrides, settings))

    return build


def test_attributes_and_form_of_a_mini_batch(make: Make) -> None:
    data = make()
    assert isinstance(data, ImageData)
    assert data.name
    assert len(data.mean) == len(data.std) == data.in_channels
    assert (data.batch_size, data.balanced) == (12, False)
    batch = data.mini_batch(0)
    assert batch.images.shape == (12, data.in_channels, data.image_size, data.image_size)
    assert batch.images.dtype == torch.float32
    assert (batch.labels.shape, batch.labels.dtype) == ((12,), torch.int64)
    assert batch.images.isfinite().all()
    assert set(batch.labels.tolist()) <= set(range(data.num_classes))
    assert make(image_size=24).mini_batch(0).images.shape[2:] == (24, 24)


def test_mini_batch_is_a_pure_function_of_the_seed(make: Make) -> None:
    data, state = make(), torch.get_rng_state()
    first, other = data.mini_batch(3), data.mini_batch(4)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(5)
    again = make(shuffle_seed=9).mini_batch(3)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.labels, again.labels)
    assert not torch.equal(first.images, other.images)


def test_balanced_counts_differ_by_at_most_one(make: Make) -> None:
    data = make(balanced=True, batch_size=25)
    present = data.train_dataset().labels.unique()
    counts = torch.bincount(data.mini_batch(0).labels, minlength=data.num_classes)[present]
    assert counts.max() - counts.min() <= 1


def test_images_are_normalised(make: Make) -> None:
    data = make()
    plain = make(mean=[0.0], std=[1.0]).mini_batch(1) if data.mean[0] else data.mini_batch(1)
    mean, std = (torch.tensor(v)[:, None, None] for v in (data.mean, data.std))
    torch.testing.assert_close(data.mini_batch(1).images, (plain.images - mean) / std)


def test_images_come_from_the_stored_pixels(make: Make) -> None:
    data = make()
    for images in (data.train_dataset(), data.test_dataset()):
        pixels, (image, label) = images.pixels(3), images[3]
        drawn = pixels.dtype == torch.float32  # noise is not stored
        assert pixels.dtype == (torch.float32 if drawn else torch.uint8)
        assert pixels.shape[0] == data.in_channels
        assert label == int(images.labels[3])
        assert torch.equal(image, pixels if drawn else data.transform(pixels))
        fitted = images.fitted(torch.tensor([5, 0, 7]))
        fitted = fitted.float() / 255 if fitted.dtype == torch.uint8 else fitted
        expected = torch.stack([images.image(index) for index in (5, 0, 7)])
        torch.testing.assert_close(images.transform.normalize(fitted), expected)
        copy = pickle.loads(pickle.dumps(images))  # as it is sent to a process
        assert torch.equal(copy[7][0], images[7][0])


BAD = {
    "batch_size": [0, 1.5, 10**9],
    "image_size": [7],
    "balanced": ["yes"],
    "num_workers": [-1],
    "resident": ["gpu", 1],
}


@pytest.mark.parametrize(("setting", "value"), [(n, v) for n, vs in BAD.items() for v in vs])
def test_bad_settings_are_named(make: Make, setting: str, value: object) -> None:
    with pytest.raises(Exception, match=rf"data\.{setting}=.*; give ") as caught:
        make(**{setting: value}).mini_batch(0)
    cause = caught.value.__cause__ or caught.value
    assert isinstance(cause, UserError)
    assert "\n" not in str(cause)


class Numbered(ImageData):
    """Images of one value a piece, so that a mini-batch says which were chosen."""

    labels: torch.Tensor

    def load(self, split: str) -> ArrayImages:
        values = torch.arange(len(self.labels), dtype=torch.uint8)
        images = values[:, None, None, None].expand(-1, 1, 8, 8)
        return ArrayImages(images, self.labels, self.transform)


def chosen(labels: torch.Tensor, size: int, *, balanced: bool = True) -> torch.Tensor:
    settings = {"in_channels": 1, "image_size": 8, "mean": [0.0], "std": [1 / 255]}
    data = Numbered(name="n", num_classes=100, batch_size=size, balanced=balanced, **settings)
    data.labels = labels
    batch = data.mini_batch(0)
    indices = batch.images[:, 0, 0, 0].round().long()
    assert torch.equal(labels[indices], batch.labels)
    return indices


@pytest.mark.parametrize("balanced", [False, True])
def test_chosen_images_are_distinct(balanced: bool) -> None:
    assert len(chosen(torch.arange(100) % 7, 50, balanced=balanced).unique()) == 50


def test_classes_take_turns_while_they_have_images() -> None:
    labels = torch.arange(200) % 100
    assert len(labels[chosen(labels, 64)].unique()) == 64
    labels = torch.tensor([0] + [1] * 10 + [2] * 10)
    assert torch.bincount(labels[chosen(labels, 9)]).tolist() == [1, 4, 4]


def test_choice_is_the_same_everywhere() -> None:
    assert chosen(torch.arange(100) % 10, 5).tolist() == [68, 79, 70, 52, 74]
