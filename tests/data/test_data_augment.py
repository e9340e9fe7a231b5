"""Random views of training images."""

import pytest
import torch
from torch import Tensor

from diswot import keys
from diswot.data.augment import Augmentation, PadCropFlip, RandomResizedCropFlip, View
from diswot.data.base import ArrayImages, EvalTransform
from diswot.errors import UserError

SIDE = 12


def stored(count: int = 20, side: int = SIDE, size: int = SIDE) -> ArrayImages:
    shape = count, 3, side, side + (side != size)
    pixels = torch.randint(256, shape, generator=keys.generator(0))
    transform = EvalTransform(size, (0.5,) * 3, (0.5,) * 3)
    return ArrayImages(pixels.to(torch.uint8), torch.arange(count) % 10, transform)


def corners(padded: Tensor, side: int) -> dict[bytes, tuple[int, int, bool]]:
    """Every view there can be of one padded image, and where it was cut out."""
    found = {}
    for top in range(padded.shape[1] - side + 1):
        for left in range(padded.shape[2] - side + 1):
            cut = padded[:, top : top + side, left : left + side]
            found[cut.contiguous().numpy().tobytes()] = (top, left, False)
            found[cut.flip(2).contiguous().numpy().tobytes()] = (top, left, True)
    return found


def test_every_view_is_a_crop_of_the_padded_image() -> None:
    images, crop = stored(), PadCropFlip(pad=4)
    seen = set()
    for number in range(12):
        views = crop(images, torch.arange(20), View(0, number))
        assert views.shape == (20, 3, SIDE, SIDE)
        assert views.dtype == torch.uint8
        for index, view in enumerate(views):
            padded = torch.zeros(3, SIDE + 8, SIDE + 8, dtype=torch.uint8)
            padded[:, 4:-4, 4:-4] = images.pixels(index)
            places = corners(padded, SIDE)
            seen.add(places[view.contiguous().numpy().tobytes()])
    assert {top for top, _, _ in seen} == {left for _, left, _ in seen} == set(range(9))
    assert 0.4 < sum(flipped for _, _, flipped in seen) / len(seen) < 0.6


MEMBERS = [PadCropFlip(pad=2), RandomResizedCropFlip()]


@pytest.mark.parametrize("augment", MEMBERS)
def test_draws_are_keyed_by_seed_view_and_image_alone(augment: Augmentation) -> None:
    images, every, state = stored(), torch.arange(20), torch.get_rng_state()
    views = [augment(images, every, View(*key)) for key in ((0, 0), (0, 1), (1, 0))]
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    some = torch.tensor([17, 3, 3, 0])
    assert torch.equal(augment(images, some, View(0, 0)), views[0][some])
    assert not any(torch.equal(views[i], views[i - 1]) for i in range(3))


def test_no_padding_and_no_mirror_is_the_image() -> None:
    views = PadCropFlip(pad=2)(stored(), torch.arange(9), View(1, 2))  # the same everywhere
    assert int(views.to(torch.int64).flatten().cumsum(0).sum()) == 811225200
    images = stored()
    views = PadCropFlip(pad=0, flip=False)(images, torch.arange(20), View(0, 0))
    assert torch.equal(views, images.images)
    views = PadCropFlip(pad=0)(images, torch.arange(20), View(0, 0))
    mirrored = [torch.equal(v, i.flip(2)) for v, i in zip(views, images.images, strict=True)]
    assert 0 < sum(mirrored) < 20


def test_images_of_another_size() -> None:
    images = stored(side=20)
    for augment in MEMBERS:
        assert augment(images, torch.arange(4), View(0, 0)).shape == (4, 3, SIDE, SIDE)
    whole = RandomResizedCropFlip(scale=1, flip=False)(stored(), torch.arange(4), View(0, 0))
    assert whole.float().mean() == pytest.approx(127, abs=12)


@pytest.mark.parametrize(
    ("kind", "name", "values"),
    [
        (PadCropFlip, "pad", [-1, 1.5, None, "much"]),
        (PadCropFlip, "flip", [1, "yes", None]),
        (RandomResizedCropFlip, "scale", [0, 1.1, float("nan"), "much"]),
    ],
)
def test_wrong_settings(kind: type[Augmentation], name: str, values: list[object]) -> None:
    for value in values:
        with pytest.raises(UserError, match=rf"protocol.augment.{name}={value} is not allowed"):
            kind(**{name: value})
