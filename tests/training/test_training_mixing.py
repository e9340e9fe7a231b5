"""Mixup and CutMix."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from diswot import keys
from diswot.errors import UserError
from diswot.training.mixing import Mixed, Mixing

LABELS = torch.arange(8)
FLAT = LABELS.float()[:, None, None, None].expand(8, 3, 12, 10)
"""Every pixel of an image is its label."""


def mixed(mixing: Mixing, key: int = 0) -> Mixed:
    return mixing(FLAT, LABELS, keys.generator("test", key))


def first_share(images: Tensor, found: Mixed) -> Tensor:
    """How much of each image is still the first, by the pixels' mean; NaN: mixed with itself."""
    mean = images.double().mean((1, 2, 3))
    return (mean - found.others) / (found.labels - found.others)


@pytest.mark.parametrize("mixing", [Mixing(mixup=0.4), Mixing(cutmix=1), Mixing(0.4, 1)])
def test_the_share_is_what_the_pixels_say(mixing: Mixing) -> None:
    for key in range(30):
        found = mixed(mixing, key)
        assert 0 <= found.share <= 1
        shares = first_share(found.images, found)
        shares = shares[shares.isfinite()]
        torch.testing.assert_close(shares, torch.full_like(shares, found.share), rtol=0, atol=1e-5)
        assert torch.equal(found.labels, LABELS)
        assert torch.equal(found.others.sort().values, LABELS)


def test_cutmix_puts_in_one_rectangle() -> None:
    seen = 0
    for key in range(20):
        found = mixed(Mixing(cutmix=1), key)
        taken = (found.images[:, 0] == found.others[:, None, None])[found.others != LABELS]
        assert ((found.images == found.images[:, :1]).all()).item()
        assert (taken == taken[:1]).all()
        rows, columns = taken[0].any(1), taken[0].any(0)
        assert torch.equal(taken[0], rows[:, None] & columns)
        assert int(rows.sum() * columns.sum()) == round((1 - found.share) * 120)
        seen += int(0 < found.share < 1)
    assert seen > 10


def test_draws_are_keyed() -> None:
    state = torch.get_rng_state()
    one, same, other = (mixed(Mixing(0.4, 1), key) for key in (5, 5, 6))
    assert torch.equal(one.images, same.images)
    assert (one.share, one.others.tolist()) == (same.share, same.others.tolist())
    assert one.share != other.share
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(FLAT[:, 0, 0, 0], LABELS.float())


def test_both_take_turns() -> None:
    cut = [
        bool(((found.images == found.images.round()).all()).item())
        for found in (mixed(Mixing(1, 1), key) for key in range(40))
    ]
    assert 8 < sum(cut) < 32


def test_off() -> None:
    found = mixed(Mixing())
    assert not Mixing()
    assert found.images is FLAT
    assert found.share == 1


@pytest.mark.parametrize("alpha", [1e-3, 0.4, 5])
def test_shares_are_of_the_beta_distribution(alpha: float) -> None:
    shares = torch.tensor([mixed(Mixing(mixup=alpha), key).share for key in range(400)])
    variance = 1 / (4 * (2 * alpha + 1))
    assert shares.mean().item() == pytest.approx(0.5, abs=4 * (variance / 400) ** 0.5)
    assert shares.var().item() == pytest.approx(variance, rel=0.3)


@pytest.mark.parametrize("setting", ["mixup", "cutmix"])
@pytest.mark.parametrize("value", [-0.1, float("nan"), "much", True])
def test_wrong_settings(setting: str, value: object) -> None:
    with pytest.raises(UserError, match=rf"protocol.{setting}={value}"):
        Mixing(**{setting: value})
