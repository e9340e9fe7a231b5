"""A score is a pure function; a candidate that fails is a record."""

import pickle
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from scoring_helpers import bits, members, s0_scorer, setup
from torch import nn

from diswot.errors import UserError
from diswot.proxies import Proxy
from diswot.proxies.base import Components, ProxyInput
from diswot.scoring.scorer import Scorer
from diswot.spaces.s0 import S0, S0Arch

FIRST, SECOND = S0Arch((1, 1, 1)), S0Arch((1, 3, 1))


def test_measurements_are_complete() -> None:
    measurement = s0_scorer().measure(FIRST)
    assert measurement.arch == "s0:1-1-1"
    assert list(measurement.parts) == list(s0_scorer().proxies)
    assert measurement.failures == {}
    assert measurement.cost == s0_scorer().costs().cost(FIRST)
    assert list(measurement.seconds_each) == list(measurement.parts)
    assert 0 < max(measurement.seconds_each.values()) <= measurement.seconds
    assert pickle.loads(pickle.dumps(measurement)) == measurement


def test_scores_do_not_depend_on_threads_or_global_state(two_threads: None) -> None:
    torch.manual_seed(5)
    two = bits(s0_scorer().measure(SECOND))
    torch.set_num_threads(1)
    torch.manual_seed(6)
    random.seed(7)
    assert bits(s0_scorer().measure(SECOND)) == two
    with torch.no_grad():
        assert bits(s0_scorer().measure(SECOND)) == two


def test_scoring_leaves_no_trace(two_threads: None) -> None:
    python, numpy, state = random.getstate(), np.random.get_state()[1], torch.get_rng_state()
    images, deterministic = s0_scorer().batch.images.clone(), torch.backends.cudnn.deterministic
    s0_scorer().measure(FIRST)
    assert torch.get_num_threads() == 2
    assert torch.is_grad_enabled()
    assert random.getstate() == python
    assert (np.random.get_state()[1] == numpy).all()
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(s0_scorer().batch.images, images)
    assert torch.backends.cudnn.deterministic == deterministic


def test_the_seed_changes_scores() -> None:
    other = s0_scorer("proxy=[diswot,nwot,params,random]", "seed=1")
    one, two = s0_scorer().measure(FIRST).parts, other.measure(FIRST).parts
    assert one["params"] == two["params"]
    assert all(one[name] != two[name] for name in ("diswot", "nwot", "random"))


class _FailingSpace(S0):
    """Whose second architecture cannot be built."""

    error: Exception

    def build(self, arch: Any, *, num_classes: int, in_channels: int = 3) -> nn.Module:
        if arch == SECOND:
            raise self.error
        return super().build(arch, num_classes=num_classes, in_channels=in_channels)


def failing(error: Exception, **changes: Any) -> Scorer:
    space = _FailingSpace(name="s0", depths=[1, 3, 5, 7], widths=[16, 16, 32, 64])
    space.error = error
    return replace(s0_scorer(), space=space, **changes)


@pytest.mark.parametrize(
    "error", [RuntimeError("boom\nmore"), KeyError("boom"), MemoryError("boom")]
)
def test_a_candidate_that_cannot_be_built_is_a_record(error: Exception) -> None:
    scorer = failing(error)
    measurement = scorer.measure(SECOND)
    assert (measurement.arch, measurement.parts) == ("s0:1-3-1", {})
    assert measurement.cost == s0_scorer().costs().cost(SECOND)  # by formula
    assert set(measurement.failures) == set(scorer.proxies)
    for reason in measurement.failures.values():
        assert type(error).__name__ in reason
        assert "boom" in reason
        assert "\n" not in reason
    assert bits(scorer.measure(FIRST)) == bits(s0_scorer().measure(FIRST))


def test_wrong_settings_are_raised_and_with_debug_all() -> None:
    for error, debug in ((RuntimeError("boom"), True), (UserError("boom"), False)):
        with pytest.raises(type(error), match="boom"):
            failing(error, debug=debug).measure(SECOND)


class _Odd(Proxy):
    """Raises an error, or gives a number."""

    def __init__(self, answer: Any) -> None:
        super().__init__(name="odd")
        self.answer = answer

    def measure(self, inputs: ProxyInput) -> Components:
        if isinstance(self.answer, Exception):
            raise self.answer
        return {"fine": 1.0, "odd": self.answer}


def odd(answer: Any, **changes: Any) -> Scorer:
    return replace(s0_scorer(), proxies={"odd": _Odd(answer), **s0_scorer().proxies}, **changes)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (ValueError("boom"), "ValueError: boom (measure)"),
        (RuntimeError(), "RuntimeError: no message (measure)"),
        (float("nan"), "odd is nan"),
        (torch.tensor(float("nan")), "odd is nan"),
        (float("-inf"), "odd is -inf"),
    ],
)
def test_a_proxy_that_fails_is_a_record_beside_the_others(answer: Any, reason: str) -> None:
    measurement = odd(answer).measure(FIRST)
    assert measurement.failures == {"odd": reason}
    assert measurement.parts == s0_scorer().measure(FIRST).parts
    assert measurement.cost is not None


class _OddPass(_Odd):
    """Raises an error in the pass that it shares."""

    needs_forward = True

    @contextmanager
    def observe(self, network: nn.Module) -> Iterator[None]:
        with network.get_submodule("fc").register_forward_hook(self._fail):
            yield

    def _fail(self, module: nn.Module, args: object, output: object) -> None:
        raise self.answer


def test_a_proxy_that_fails_in_the_shared_pass_does_not_cost_the_others() -> None:
    scorer = s0_scorer()
    proxies = {**scorer.proxies, "odd": _OddPass(ValueError("boom"))}
    measurement = replace(scorer, proxies=proxies).measure(FIRST)
    assert measurement.failures == {"odd": "ValueError: boom (_fail)"}
    assert measurement.parts == scorer.measure(FIRST).parts
    assert set(measurement.seconds_each) == set(scorer.proxies)
    assert measurement.cost is not None
    with pytest.raises(ValueError, match="boom"):
        replace(scorer, proxies=proxies, debug=True).measure(FIRST)


def test_a_part_that_is_a_tensor_is_its_number() -> None:
    for answer in (torch.tensor(1.5), np.float32(1.5)):
        parts = odd(answer).measure(FIRST).parts["odd"]
        assert parts == {"fine": 1.0, "odd": 1.5}
        assert type(parts["odd"]) is float


def test_a_proxy_that_fails_raises_with_debug_and_threads_are_set_back(two_threads: None) -> None:
    with pytest.raises(ValueError, match="boom"):
        odd(ValueError("boom"), debug=True).measure(FIRST)
    assert torch.get_num_threads() == 2
    assert torch.is_grad_enabled()


def test_proxies_that_need_no_forward_pass_build_no_network() -> None:
    everything = setup("space=s0", f"proxy=[{','.join(members('proxy'))}]")
    free = {name: p for name, p in everything.proxies.items() if not p.needs_network}
    assert free
    with patch.object(Scorer, "network", side_effect=AssertionError("built")):
        for name, proxy in free.items():
            measurement = replace(everything.scorer, proxies={name: proxy}).measure(FIRST)
            assert list(measurement.parts) == [name]
