"""Schedules, Mixup and CutMix, the checks of a protocol and its old spelling."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diswot import keys
from diswot.commands import compose
from diswot.commands.naming import _KEYS, translated
from diswot.errors import UserError
from diswot.training.protocol import Mixed, Mixing, Protocol
from diswot.training.schedules import cosine, multistep


def test_crd_steps_down_thrice() -> None:
    at = {0: 1, 149.99: 1, 150: 0.1, 180: 0.01, 209.9: 0.01, 210: 0.001, 239: 0.001}
    for epoch, factor in at.items():
        assert multistep(epoch, 240, milestones=[150, 180, 210]) == pytest.approx(factor)
    warm = [multistep(epoch, 10, milestones=[5], warmup=2) for epoch in (0, 1, 2, 4, 5)]
    assert warm == pytest.approx([0.1, 0.55, 1, 1, 0.1])


def test_cosine() -> None:
    assert [cosine(epoch, 8) for epoch in (0, 4, 8, 9)] == pytest.approx([1, 0.5, 0, 0])
    assert cosine(2, 8) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    rates = [cosine(epoch, 5, warmup=1, final=0.2) for epoch in (0, 0.5, 1, 3, 5)]
    assert rates == pytest.approx([0.1, 0.55, 1, 0.6, 0.2])


@given(st.integers(2, 300), st.floats(0, 1), st.floats(0, 1), st.floats(0, 0.99))
def test_cosine_falls_within_its_bounds(
    epochs: int, first: float, second: float, final: float
) -> None:
    early, late = (cosine(share * epochs, epochs, final=final) for share in sorted((first, second)))
    assert final - 1e-9 <= late <= early + 1e-9 <= 1 + 2e-9


@pytest.mark.parametrize("milestones", [[0], [10], [5, 11], [-1]])
def test_milestones_that_are_never_reached(milestones: list[int]) -> None:
    with pytest.raises(UserError, match=r"protocol.schedule.milestones=.*max_epochs=10"):
        multistep(0, 10, milestones=milestones)


@pytest.mark.parametrize("warmup", [-1, 10.5, math.nan, "two"])
def test_warmups_that_are_refused(warmup: Any) -> None:
    with pytest.raises(UserError, match=r"protocol.schedule.warmup="):
        cosine(0, 10, warmup=warmup)


@pytest.mark.parametrize(
    ("words", "setting", "expected"),
    [
        (("protocol=crd",), "milestones", [150, 180, 210]),
        (("protocol=crd", "protocol.max_epochs=300"), "milestones", [150, 180, 210]),
        (("protocol=crd", "protocol.max_epochs=24"), "milestones", [15, 18, 21]),
        (("protocol=imagenet", "protocol.max_epochs=1"), "milestones", [0.3, 0.6, 0.9]),
        (("protocol=imagenet", "protocol.schedule.milestones=[2]"), "milestones", [2]),
        (("protocol.max_epochs=1",), "warmup", 1),
    ],
)
def test_a_schedule_follows_the_epochs(
    words: tuple[str, ...], setting: str, expected: object
) -> None:
    node = compose("train", words, None)["protocol"]
    assert node["schedule"][setting] == expected
    Protocol.from_config(node)


@pytest.fixture(scope="module")
def node() -> dict[str, Any]:
    """Settings of the default protocol."""
    default: dict[str, Any] = compose("train", [], None)["protocol"]
    return default


REFUSED = [
    *[("max_epochs", value) for value in (0, 1.5, None, True)],
    *[("gradient_clip", value) for value in (-1, "much", math.inf)],
    *[(name, value) for name in ("label_smoothing", "ema", "validation") for value in (1, -0.1)],
    *[(name, v) for name in ("mixup", "cutmix") for v in (-0.1, math.nan, "much", True)],
    *[("ce_weight", -1), ("compile", 1), ("compile", "true")],
]


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_settings_outside_what_is_allowed(node: dict[str, Any], name: str, value: object) -> None:
    with pytest.raises(UserError, match=rf"protocol.{name}={value} is not allowed; give"):
        Protocol.from_config({**node, name: value})


def test_the_cache_is_checked(node: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"protocol.teacher_cache.views=-1"):
        Protocol.from_config({**node, "teacher_cache": {**node["teacher_cache"], "views": -1}})


@pytest.mark.parametrize("part", ["optimizer", "schedule"])
def test_a_part_without_partial_or_left_out(node: dict[str, Any], part: str) -> None:
    whole = {key: value for key, value in node[part].items() if key != "_partial_"}
    for wrong in (whole, None):
        with pytest.raises(UserError, match=rf"protocol.{part}"):
            Protocol.from_config({**node, part: wrong})


LABELS = torch.arange(8)
FLAT = LABELS.float()[:, None, None, None].expand(8, 3, 12, 10)
"""Every pixel of an image is its label."""


def mix(mixing: Mixing, key: int = 0) -> Mixed:
    return mixing(FLAT, LABELS, keys.generator("test", key))


@pytest.mark.parametrize("mixing", [Mixing(mixup=0.4), Mixing(cutmix=1), Mixing(0.4, 1)])
def test_the_share_is_what_the_pixels_say(mixing: Mixing) -> None:
    for key in range(30):
        mixed = mix(mixing, key)
        assert 0 <= mixed.share <= 1
        mean = mixed.images.double().mean((1, 2, 3))
        shares = (mean - mixed.others) / (mixed.labels - mixed.others)
        shares = shares[shares.isfinite()]  # NaN: mixed with itself
        torch.testing.assert_close(shares, torch.full_like(shares, mixed.share), rtol=0, atol=1e-5)
        assert torch.equal(mixed.labels, LABELS)
        assert torch.equal(mixed.others.sort().values, LABELS)


def test_cutmix_puts_in_one_rectangle() -> None:
    seen = 0
    for key in range(20):
        mixed = mix(Mixing(cutmix=1), key)
        taken = (mixed.images[:, 0] == mixed.others[:, None, None])[mixed.others != LABELS]
        assert (mixed.images == mixed.images[:, :1]).all()
        assert (taken == taken[:1]).all()
        rows, columns = taken[0].any(1), taken[0].any(0)
        assert torch.equal(taken[0], rows[:, None] & columns)
        assert int(rows.sum() * columns.sum()) == round((1 - mixed.share) * 120)
        seen += int(0 < mixed.share < 1)
    assert seen > 10


def test_draws_are_keyed_and_both_take_turns() -> None:
    state = torch.get_rng_state()
    one, same, other = (mix(Mixing(0.4, 1), key) for key in (5, 5, 6))
    assert torch.equal(one.images, same.images)
    assert (one.share, one.others.tolist()) == (same.share, same.others.tolist())
    assert one.share != other.share
    turns = (mix(Mixing(1, 1), key).images for key in range(40))
    assert 8 < sum(bool((images == images.round()).all()) for images in turns) < 32
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(FLAT[:, 0, 0, 0], LABELS.float())
    assert mix(Mixing()).images is FLAT
    assert mix(Mixing()).share == 1


@pytest.mark.parametrize("alpha", [1e-3, 0.4, 5])
def test_shares_are_of_the_beta_distribution(alpha: float) -> None:
    shares = torch.tensor([mix(Mixing(mixup=alpha), key).share for key in range(400)])
    variance = 1 / (4 * (2 * alpha + 1))
    assert shares.mean().item() == pytest.approx(0.5, abs=4 * (variance / 400) ** 0.5)
    assert shares.var().item() == pytest.approx(variance, rel=0.3)


CHANGED = {
    "trainer=short": "protocol=short",
    "trainer=crd,imagenet": "protocol=crd,imagenet",
    "trainer.max_epochs=3": "protocol.max_epochs=3",
    "+trainer.optimizer.eps=1e-3": "+protocol.optimizer.eps=1e-3",
    "++trainer.ema=0.9": "++protocol.ema=0.9",
    "~trainer.optimizer.momentum": "~protocol.optimizer.momentum",
    "trainer.teacher_cache={views: 1, dir: x}": "protocol.teacher_cache={views: 1, dir: x}",
}
KEPT = [
    *("trainer=default", "trainer.devices=2", "+trainer.max_steps=5", "trainer.accumulate=2"),
    *("student=resnet20", "--help", "-m", "data.root=a/trainer=short", "trainer.emax=1"),
    *("trainer=short,mine", "hydra.run.dir=trainer.ema", "student.run=x/trainer.ema=1"),
]


@pytest.mark.parametrize("word", CHANGED)
def test_old_words_are_translated_and_named(word: str) -> None:
    words, notices = translated(["seed=1", word])
    assert words == ["seed=1", CHANGED[word]]
    assert notices == [
        f"{word} is now {CHANGED[word]}; the old spelling goes with the next release"
    ]


def test_other_words_stay() -> None:
    assert translated(KEPT) == (KEPT, [])


def test_the_keys_are_those_of_a_protocol() -> None:
    assert set(_KEYS) == set(compose("train", [], None)["protocol"])
