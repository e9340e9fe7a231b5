"""Schedules, and the checks of a protocol."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diswot.commands import compose
from diswot.errors import UserError
from diswot.training.protocol import Protocol
from diswot.training.schedules import cosine, multistep


def test_crd_steps_down_thrice() -> None:
    at = {0: 1, 149.99: 1, 150: 0.1, 180: 0.01, 209.9: 0.01, 210: 0.001, 239: 0.001}
    for epoch, factor in at.items():
        assert multistep(epoch, 240, milestones=[150, 180, 210]) == pytest.approx(factor)


def test_warmup_grows_in_a_line() -> None:
    found = [multistep(epoch, 10, milestones=[5], warmup=2) for epoch in (0, 1, 2, 4, 5)]
    assert found == pytest.approx([0.1, 0.55, 1, 1, 0.1])


def test_cosine() -> None:
    assert [cosine(epoch, 8) for epoch in (0, 4, 8, 9)] == pytest.approx([1, 0.5, 0, 0])
    assert cosine(2, 8) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    found = [cosine(epoch, 5, warmup=1, final=0.2) for epoch in (0, 0.5, 1, 3, 5)]
    assert found == pytest.approx([0.1, 0.55, 1, 0.6, 0.2])


@given(st.integers(2, 300), st.floats(0, 1), st.floats(0, 1), st.floats(0, 0.99))
def test_cosine_falls_within_its_bounds(
    epochs: int, first: float, second: float, final: float
) -> None:
    early, late = (cosine(share * epochs, epochs, final=final) for share in sorted((first, second)))
    assert final - 1e-9 <= late <= early + 1e-9 <= 1 + 2e-9


@given(st.lists(st.integers(1, 99), max_size=4), st.floats(0, 100))
def test_multistep_counts_milestones(milestones: list[int], epoch: float) -> None:
    passed = sum(milestone <= epoch for milestone in milestones)
    found = multistep(epoch, 100, milestones=milestones, gamma=0.5)
    assert found == 0.5**passed


@pytest.mark.parametrize("milestones", [[0], [10], [5, 11], [-1]])
def test_milestones_that_are_never_reached(milestones: list[int]) -> None:
    with pytest.raises(UserError, match=r"protocol.schedule.milestones=.*max_epochs=10"):
        multistep(0, 10, milestones=milestones)


@pytest.mark.parametrize("warmup", [-1, 10, math.nan, "two"])
def test_warmups_that_are_refused(warmup: Any) -> None:
    with pytest.raises(UserError, match=r"protocol.schedule.warmup="):
        cosine(0, 10, warmup=warmup)


@pytest.fixture(scope="module")
def node() -> dict[str, Any]:
    """Settings of the default protocol."""
    found = compose("train", [], None)["protocol"]
    assert isinstance(found, dict)
    return found


def test_the_default_protocol(node: dict[str, Any]) -> None:
    protocol = Protocol.from_config(node)
    assert protocol.max_epochs == node["max_epochs"]
    assert not protocol.mixing
    assert protocol.ce_weight is None
    assert protocol.schedule(0.0, protocol.max_epochs) == pytest.approx(0.1)


REFUSED = [
    *[("max_epochs", value) for value in (0, 1.5, None, True)],
    *[("gradient_clip", value) for value in (-1, "much", math.inf)],
    *[("label_smoothing", value) for value in (1, -0.1)],
    *[("ema", value) for value in (1, -0.1)],
    *[("validation", value) for value in (1, -0.1)],
    *[(name, -1) for name in ("ce_weight", "mixup", "cutmix")],
    *[("compile", value) for value in (1, "true")],
]


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_settings_outside_what_is_allowed(node: dict[str, Any], name: str, value: object) -> None:
    with pytest.raises(UserError, match=rf"protocol.{name}={value} is not allowed; give"):
        Protocol.from_config({**node, name: value})


def test_the_cache_is_checked(node: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"protocol.teacher_cache.views=-1"):
        Protocol.from_config({**node, "teacher_cache": {"views": -1, "dir": "x"}})


def test_an_optimizer_without_partial(node: dict[str, Any]) -> None:
    whole = {key: value for key, value in node["optimizer"].items() if key != "_partial_"}
    with pytest.raises(UserError, match=r"protocol.optimizer"):
        Protocol.from_config({**node, "optimizer": whole})


def test_a_schedule_without_partial(node: dict[str, Any]) -> None:
    whole = {key: value for key, value in node["schedule"].items() if key != "_partial_"}
    with pytest.raises(UserError, match=r"protocol.schedule"):
        Protocol.from_config({**node, "schedule": whole})


@pytest.mark.parametrize("part", ["optimizer", "schedule"])
def test_a_part_that_is_left_out(node: dict[str, Any], part: str) -> None:
    with pytest.raises(UserError, match=rf"protocol.{part}"):
        Protocol.from_config({**node, part: None})
