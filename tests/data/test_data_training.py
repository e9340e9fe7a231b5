"""Batches of training, validation and test images."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from diswot.data.augment import PadCropFlip
from diswot.data.base import ArrayImages, EvalTransform
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


def test_an_epoch_shows_an_image_at_most_once() -> None:
    batches = training()
    assert batches.count == 4
    orders = [order(batches, epoch) for epoch in range(6)]
    assert all(len(set(one)) == 20 for one in orders)
    assert all(one != next_ for one, next_ in pairwise(orders))
    assert set().union(*orders) == set(range(23))
    assert order(training(), 3) == orders[3]
    assert order(training(seed=2), 3) != orders[3]


def test_evaluation_shows_all_in_order() -> None:
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


def test_the_seed_keys_the_views() -> None:
    one, other = (training(augment=PadCropFlip(pad=2), seed=seed) for seed in (1, 2))
    assert not torch.equal(one.view(EVERY, 0)[0], other.view(EVERY, 0)[0])


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
    found, same = shown(one), shown(two)
    assert len(found) == len(same) > 20
    assert all(map(torch.equal, found, same))


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


@pytest.mark.parametrize("share", [-0.1, 0.91, float("nan"), "some"])
def test_a_share_that_is_not_allowed(share: float) -> None:
    with pytest.raises(UserError, match=rf"protocol.validation={share} is not allowed"):
        TrainingData(noise(), validation=share)


@pytest.mark.parametrize(("settings", "left"), [({"length": 7}, 7), ({"length": 10}, 7)])
def test_no_whole_batch(settings: dict[str, int], left: int) -> None:
    share = 1 - left / settings["length"]
    with pytest.raises(UserError, match=rf"data.batch_size=8 is more than the {left} images"):
        TrainingData(noise(**settings), validation=share)


def test_a_share_that_holds_out_nothing() -> None:
    with pytest.raises(UserError, match=r"protocol.validation=0.001"):
        TrainingData(noise(), validation=0.001)
