"""Batches of training, validation and test images, and random views."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from diswot import keys
from diswot.data.augment import Augmentation, PadCropFlip, RandomResizedCropFlip, View
from diswot.data.base import ArrayImages, EvalTransform, ResidentImages
from diswot.data.gaussian import GaussianData
from diswot.data.training import Batches, EpochSampler, TrainingData
from diswot.errors import UserError

PIXELS = torch.arange(23, dtype=torch.uint8)[:, None, None, None].expand(23, 1, 8, 8).clone()
IMAGES = ArrayImages(PIXELS, torch.arange(23) % 5, EvalTransform(8, (0.25,), (0.5,)))
EVERY = torch.arange(23)


def training(**settings: object) -> Batches:
    return Batches(IMAGES, EVERY, 5, **{"seed": 1, "shuffle": True, **settings})


def order(batches: Batches, epoch: int) -> list[int]:
    return torch.cat([batches[epoch, number][2] for number in range(batches.count)]).tolist()


def test_an_epoch_shows_an_image_at_most_once_and_evaluation_all_in_order() -> None:
    batches = training()
    assert batches.count == 4
    orders = [order(batches, epoch) for epoch in range(6)]
    assert all(len(set(one)) == 20 for one in orders)
    assert all(one != next_ for one, next_ in pairwise(orders))
    assert set().union(*orders) == set(range(23))
    assert order(training(), 3) == orders[3]
    assert order(training(seed=2), 3) != orders[3]
    batches = Batches(IMAGES, EVERY, 5)
    assert batches.count == 5
    assert order(batches, 0) == order(batches, 7) == EVERY.tolist()


def test_images_are_normalised_and_labelled() -> None:
    images, labels, indices = training()[2, 1]
    assert images.dtype == torch.float32
    assert torch.equal(labels, indices % 5)
    expected = (indices / 255 - 0.25) / 0.5
    torch.testing.assert_close(images[:, 0, 3, 3], expected.float())


def test_views_come_again() -> None:
    augment = PadCropFlip(pad=2)
    batches = training(augment=augment, views=2)
    shown = [batches.view(EVERY, batches.view_number(epoch))[0] for epoch in range(4)]
    assert torch.equal(shown[0], shown[2])
    assert torch.equal(shown[1], shown[3])
    assert not torch.equal(shown[0], shown[1])
    images, _, indices = batches[3, 0]
    assert torch.equal(images, shown[1][indices])
    other = training(augment=augment, seed=2)
    assert not torch.equal(other.view(EVERY, 0)[0], shown[0])


@pytest.mark.parametrize(("world", "even"), [(1, False), (2, False), (3, True), (4, True)])
def test_processes_share_an_epoch(world: int, even: bool) -> None:
    samplers = [EpochSampler(10, rank=rank, world=world, even=even) for rank in range(world)]
    for sampler in samplers:
        sampler.set_epoch(6)
    shares = [list(sampler) for sampler in samplers]
    assert {epoch for share in shares for epoch, _ in share} == {6}
    assert shares[-1][:2] == [(6, world - 1), (6, 2 * world - 1)]
    numbers = sorted(number for share in shares for _, number in share)
    assert numbers == list(range(10 - 10 % world if even else 10))
    assert not even or len({len(share) for share in shares}) == 1
    assert [len(share) for share in shares] == list(map(len, samplers))


def noise(**settings: object) -> GaussianData:
    given = {"num_classes": 4, "image_size": 8, "length": 50, "batch_size": 8, **settings}
    return GaussianData(**given)


def shown(data: TrainingData) -> list[Tensor]:
    loaders = (data.train_dataloader(), data.val_dataloader(), data.test_dataloader())
    return [tensor for loader in loaders for batch in loader for tensor in batch]


def test_workers_load_the_same_bits() -> None:
    one, two = (
        TrainingData(noise(num_workers=workers), augment=PadCropFlip(pad=2), validation=0.3)
        for workers in (0, 2)
    )
    loaded, same = shown(one), shown(two)
    assert len(loaded) == len(same) > 20
    assert all(map(torch.equal, loaded, same))


def on(device: str, **settings: object) -> TrainingData:
    """Batches as a Trainer on a device gets them."""
    data = TrainingData(noise(**settings), augment=PadCropFlip(pad=2), validation=0.3)
    strategy = SimpleNamespace(root_device=torch.device(device))
    data.trainer = SimpleNamespace(strategy=strategy, global_rank=0, world_size=1)
    data.setup("fit")
    return data


GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, GPU])]


@pytest.mark.parametrize("device", DEVICES)
def test_resident_images_give_the_same_batches(device: str) -> None:
    """The same bits on the CPU; on CUDA the same pixels, normalised to within a rounding."""
    loaded = shown(on("cpu", num_workers=1, resident=False))
    resident = on(device, num_workers=1, resident=True)
    resident.setup("fit")  # as a second fit does
    for one, same in zip(loaded, shown(resident), strict=True):
        assert same.device.type == device
        torch.testing.assert_close(same.cpu(), one, rtol=0, atol=1e-6 * (device == "cuda"))
    assert resident.train_dataloader().num_workers == 0
    images, every, crop = stored(), torch.arange(20), PadCropFlip(pad=4)
    views = crop(images, every, View(0, 3))
    there = crop(ResidentImages(images, torch.device(device)), every, View(0, 3))
    assert torch.equal(there.cpu(), views)
    assert torch.equal(crop(images, every, View(0, 3)), views)  # its draws lie on the CPU again


@pytest.mark.parametrize(
    ("device", "free", "augment", "resident"),
    [
        ("cuda", 4 * 23 * 64, PadCropFlip(), True),
        ("cuda", 4 * 23 * 64, None, True),
        ("cuda", 4 * 23 * 64 - 1, None, False),
        ("cuda", 10**9, RandomResizedCropFlip(), False),
        ("cpu", 10**9, None, False),
    ],
)
def test_where_images_stay_by_themselves(
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    free: int,
    augment: Augmentation | None,
    resident: bool,
) -> None:
    data = TrainingData(noise(), augment=augment)
    monkeypatch.setattr("diswot.data.training.ResidentImages.__init__", lambda *_: None)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda _: (free, 10**9))
    assert (data.placed(IMAGES, torch.device(device)) is not IMAGES) == resident
    drawn = data.training.images  # not in memory, so never by themselves
    assert data.placed(drawn, torch.device(device)) is drawn


def test_views_of_stored_images_are_no_views_of_resident_ones() -> None:
    with pytest.raises(UserError, match=r"data.resident=true: RandomResizedCropFlip .* give auto"):
        TrainingData(noise(resident=True), augment=RandomResizedCropFlip())


def test_held_out_images_are_not_trained_on() -> None:
    splits = [TrainingData(noise(shuffle_seed=seed), validation=0.3) for seed in (0, 1)]
    for data in splits:
        kept, held_out = data.training.chosen.tolist(), data.validation.chosen.tolist()
        assert sorted(kept + held_out) == list(range(50))
        assert len(held_out) == 15
        assert data.validated_on == "validation"
    assert torch.equal(splits[0].validation.chosen, splits[1].validation.chosen)
    assert splits[0].validation.augment is None
    assert order(splits[0].training, 0) != order(splits[1].training, 0)


def test_without_held_out_images_the_test_images_serve() -> None:
    data = TrainingData(noise())
    assert data.validation is data.test
    assert data.validated_on == "test"
    assert len(data.training.chosen) == 50


@pytest.mark.parametrize(
    ("length", "share", "message"),
    [
        *((50, s, f"validation={s} is not allowed") for s in (-0.1, 0.91, float("nan"), "some")),
        (50, 0.001, "protocol.validation=0.001 of 50 images is none"),
        (7, 0.0, "data.batch_size=8 is more than the 7 images"),
        (10, 0.3, "data.batch_size=8 is more than the 7 images"),
    ],
)
def test_shares_that_are_refused(length: int, share: float, message: str) -> None:
    with pytest.raises(UserError, match=message):
        TrainingData(noise(length=length), validation=share)


SIDE = 12


def stored(count: int = 20, side: int = SIDE, size: int = SIDE) -> ArrayImages:
    shape = count, 3, side, side + (side != size)
    pixels = torch.randint(256, shape, generator=keys.generator(0))
    transform = EvalTransform(size, (0.5,) * 3, (0.5,) * 3)
    return ArrayImages(pixels.to(torch.uint8), torch.arange(count) % 10, transform)


def corners(padded: Tensor, side: int) -> dict[bytes, tuple[int, int, bool]]:
    """Every view there can be of one padded image, and where it was cut out."""
    places = {}
    for top in range(padded.shape[1] - side + 1):
        for left in range(padded.shape[2] - side + 1):
            cut = padded[:, top : top + side, left : left + side]
            places[cut.contiguous().numpy().tobytes()] = (top, left, False)
            places[cut.flip(2).contiguous().numpy().tobytes()] = (top, left, True)
    return places


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
            seen.add(corners(padded, SIDE)[view.contiguous().numpy().tobytes()])
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
