"""A score is a pure function; a candidate that fails is a record."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from diswot.config import conf_dir
from diswot.errors import UserError
from diswot.proxies import Proxy
from diswot.proxies.base import Components, ProxyInput
from diswot.scoring.prefixes import PrefixCache
from diswot.scoring.scorer import Measurement, Scorer
from diswot.scoring.setup import Setup
from diswot.spaces import Arch, Space
from diswot.spaces.s0 import S0

PROXIES = sorted(path.stem for path in (conf_dir() / "proxy").glob("*.yaml"))
TEXTS = ("s0:1-1-1", "s0:1-3-1", "s0:3-1-1")


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def bits(found: Measurement) -> tuple[Any, ...]:
    parts = {
        proxy: {part: value.hex() for part, value in parts.items()}
        for proxy, parts in found.parts.items()
    }
    return found.arch, parts, found.failures, found.cost


def test_measurements_are_complete(s0_scorer: Scorer) -> None:
    arch = s0_scorer.space.parse(TEXTS[0])
    found = s0_scorer.measure(arch)
    assert found.arch == TEXTS[0]
    assert list(found.parts) == list(s0_scorer.proxies)
    assert found.failures == {}
    assert found.cost == s0_scorer.costs().cost(arch)
    assert found.seconds > 0
    assert pickle.loads(pickle.dumps(found)) == found


def test_scores_have_equal_bits_in_any_order(s0_scorer: Scorer) -> None:
    archs = [s0_scorer.space.parse(text) for text in TEXTS]
    memory = s0_scorer.memory()
    forth = [bits(s0_scorer.measure(arch, memory)) for arch in archs]
    back = [bits(s0_scorer.measure(arch)) for arch in reversed(archs)]
    assert back[::-1] == forth
    assert len({str(parts) for _, parts, _, _ in forth}) == len(archs)


def test_what_is_remembered_changes_no_bit(
    space: Space, setup_of: Callable[..., Setup], small_archs: Callable[..., list[Arch]]
) -> None:
    """Proxies that read outputs only share the maps of first stages; others must not."""
    scorer = setup_of(f"space={space.name}", "proxy=[diswot,relation]").scorer
    [arch] = small_archs(space, 1)
    rng = random.Random(0)
    archs = [arch, *(space.mutate(arch, rng) for _ in range(5)), arch]
    memory = scorer.memory()
    for each in archs:
        assert bits(scorer.measure(each, memory)) == bits(scorer.measure(each))
    watching = setup_of(f"space={space.name}", "proxy=[diswot,nwot]").scorer
    memory = watching.memory()
    for each in archs[-2:]:
        assert bits(watching.measure(each, memory)) == bits(watching.measure(each))
        assert not memory.prefixes.longest(space.prefixes(each))


def test_the_least_recently_used_maps_are_forgotten() -> None:
    maps = {key: torch.full((4,), float(key)) for key in range(4)}
    cache = PrefixCache(limit=2 * 16)
    cache.store([0, 1], [maps[0], maps[1]])
    assert [m.tolist() for m in cache.longest([0, 1, 2])] == [[0.0] * 4, [1.0] * 4]
    cache.longest([0])
    cache.store([2], [maps[2]])
    assert cache.longest([1]) == []
    assert len(cache.longest([0])) == len(cache.longest([2])) == 1
    cache.store([0], [maps[0]])
    assert len(cache.longest([2])) == 1


def test_scores_do_not_depend_on_threads_or_global_state(
    s0_scorer: Scorer, threads: Callable[[int], None]
) -> None:
    arch = s0_scorer.space.parse(TEXTS[1])
    threads(1)
    torch.manual_seed(5)
    one = bits(s0_scorer.measure(arch))
    threads(2)
    torch.manual_seed(6)
    random.seed(7)
    torch.set_default_dtype(torch.float32)
    assert bits(s0_scorer.measure(arch)) == one
    with torch.enable_grad():
        assert bits(s0_scorer.measure(arch)) == one


def test_scoring_leaves_no_trace(s0_scorer: Scorer, threads: Callable[[int], None]) -> None:
    threads(2)
    python, numpy, state = random.getstate(), np.random.get_state()[1], torch.get_rng_state()
    images = s0_scorer.batch.images.clone()
    deterministic = torch.backends.cudnn.deterministic
    s0_scorer.measure(s0_scorer.space.parse(TEXTS[0]))
    assert torch.get_num_threads() == 2
    assert torch.is_grad_enabled()
    assert random.getstate() == python
    assert (np.random.get_state()[1] == numpy).all()
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(s0_scorer.batch.images, images)
    assert torch.backends.cudnn.deterministic == deterministic


def test_a_pickled_scorer_scores_the_same(s0_scorer: Scorer) -> None:
    arch = s0_scorer.space.parse(TEXTS[0])
    again = pickle.loads(pickle.dumps(s0_scorer))
    assert bits(again.measure(arch)) == bits(s0_scorer.measure(arch))


def test_the_seed_changes_scores(s0_scorer: Scorer, setup_of: Callable[..., Setup]) -> None:
    arch = s0_scorer.space.parse(TEXTS[0])
    other = setup_of("space=s0", "proxy=[diswot,nwot,params,random]", "seed=1").scorer
    one, two = s0_scorer.measure(arch).parts, other.measure(arch).parts
    assert one["params"] == two["params"]
    assert all(one[name] != two[name] for name in ("diswot", "nwot", "random"))


class _FailingSpace(S0):
    """Whose second architecture cannot be built, or not with any settings."""

    error: Exception = RuntimeError("boom")

    def build(self, arch: Any, *, num_classes: int, in_channels: int = 3) -> nn.Module:
        if str(arch) == TEXTS[1]:
            raise self.error
        return super().build(arch, num_classes=num_classes, in_channels=in_channels)


def failing(scorer: Scorer, error: Exception, **changes: Any) -> Scorer:
    space = _FailingSpace(name="s0", depths=[1, 3, 5, 7], widths=[16, 16, 32, 64])
    space.error = error
    return replace(scorer, space=space, **changes)


@pytest.mark.parametrize(
    "error", [RuntimeError("boom\nmore"), KeyError("boom"), MemoryError("boom"), TypeError("boom")]
)
def test_a_candidate_that_cannot_be_built_is_a_record(s0_scorer: Scorer, error: Exception) -> None:
    scorer = failing(s0_scorer, error)
    first, second, _ = (scorer.space.parse(text) for text in TEXTS)
    found = scorer.measure(second)
    assert found.arch == TEXTS[1]
    assert found.parts == {}
    assert found.cost is None
    assert set(found.failures) == set(scorer.proxies)
    assert all(type(error).__name__ in why and "boom" in why for why in found.failures.values())
    assert all("\n" not in why for why in found.failures.values())
    assert bits(scorer.measure(first)) == bits(s0_scorer.measure(first))


def test_a_candidate_that_cannot_be_built_raises_where_debugged(s0_scorer: Scorer) -> None:
    scorer = failing(s0_scorer, RuntimeError("boom"), debug=True)
    with pytest.raises(RuntimeError, match="boom"):
        scorer.measure(scorer.space.parse(TEXTS[1]))


@pytest.mark.parametrize("debug", [False, True])
def test_wrong_settings_are_raised(s0_scorer: Scorer, debug: bool) -> None:
    scorer = failing(s0_scorer, UserError("wrong"), debug=debug)
    with pytest.raises(UserError, match="wrong"):
        scorer.measure(scorer.space.parse(TEXTS[1]))


class _Odd(Proxy):
    """Raises an error, or gives a number."""

    def __init__(self, answer: Exception | float) -> None:
        super().__init__(name="odd")
        self.answer = answer

    def measure(self, inputs: ProxyInput) -> Components:
        if isinstance(self.answer, Exception):
            raise self.answer
        return {"fine": 1.0, "odd": self.answer}


def odd(scorer: Scorer, answer: Exception | float, **changes: Any) -> Scorer:
    proxies = {"odd": _Odd(answer), **scorer.proxies}
    return replace(scorer, proxies=proxies, **changes)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (ValueError("boom"), "ValueError: boom (measure)"),
        (ZeroDivisionError("boom"), "ZeroDivisionError: boom (measure)"),
        (RuntimeError(), "RuntimeError: no message (measure)"),
        (float("nan"), "odd is nan"),
        (float("-inf"), "odd is -inf"),
    ],
)
def test_a_proxy_that_fails_is_a_record_beside_the_others(
    s0_scorer: Scorer, answer: Exception | float, why: str
) -> None:
    arch = s0_scorer.space.parse(TEXTS[0])
    found = odd(s0_scorer, answer).measure(arch)
    assert found.failures == {"odd": why}
    assert found.parts == s0_scorer.measure(arch).parts
    assert found.cost is not None


def test_a_proxy_that_fails_raises_where_debugged(s0_scorer: Scorer) -> None:
    scorer = odd(s0_scorer, ValueError("boom"), debug=True)
    with pytest.raises(ValueError, match="boom"):
        scorer.measure(scorer.space.parse(TEXTS[0]))


def test_threads_are_set_back_after_an_error(
    s0_scorer: Scorer, threads: Callable[[int], None]
) -> None:
    threads(2)
    scorer = odd(s0_scorer, ValueError("boom"), debug=True)
    with pytest.raises(ValueError, match="boom"):
        scorer.measure(scorer.space.parse(TEXTS[0]))
    assert torch.get_num_threads() == 2
    assert torch.is_grad_enabled()


def test_hooks_end_with_the_forward_pass(s0_scorer: Scorer, monkeypatch: Any) -> None:
    seen: list[nn.Module] = []
    network = Scorer.network

    def keep(self: Scorer, arch: Arch) -> nn.Module:
        seen.append(network(self, arch))
        return seen[-1]

    monkeypatch.setattr(Scorer, "network", keep)
    s0_scorer.measure(s0_scorer.space.parse(TEXTS[0]))
    hooks = [m._forward_pre_hooks or m._forward_hooks for m in seen[0].modules()]
    assert not any(hooks)


def test_proxies_that_need_no_forward_pass_build_no_network(
    setup_of: Callable[..., Setup], monkeypatch: Any
) -> None:
    free = []
    for name in PROXIES:
        setup = setup_of("space=s0", f"proxy={name}")
        if setup.proxies[name].needs_forward:
            continue
        free.append(name)
        devices: list[str] = []
        build = S0.build

        def note(self: S0, *args: Any, build: Any = build, **settings: Any) -> nn.Module:
            devices.append(torch.get_default_device().type)  # noqa: B023
            return build(self, *args, **settings)

        with monkeypatch.context() as patch:
            patch.setattr(S0, "build", note)
            found = setup.scorer.measure(setup.space.parse(TEXTS[0]))
        assert list(found.parts) == [name]
        assert set(devices) <= {"meta"}
    assert free
