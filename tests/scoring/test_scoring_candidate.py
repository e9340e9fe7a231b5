"""Seconds of a candidate, and the maps that candidates share."""

import random
import time
from collections.abc import Callable
from unittest.mock import patch

import pytest
import torch
from scoring_helpers import SMALLER, bits, each_space, s0_scorer, setup

from diswot.data import MiniBatch
from diswot.models.outputs import Cost
from diswot.models.resnet import CifarResNet, ResidualBlock
from diswot.proxies import Proxy
from diswot.proxies.base import Components, ProxyInput
from diswot.scoring.runtime import Block, PrefixCache, Runtime, forward
from diswot.scoring.scorer import Candidate
from diswot.spaces import Arch


class Working(Proxy):
    """Needs what it is told to need; works for a while."""

    def __init__(self, name: str, seconds: float = 0, **needs: bool) -> None:
        super().__init__(name=name)
        self.seconds = seconds
        for need, value in needs.items():
            setattr(self, need, value)

    def measure(self, inputs: ProxyInput) -> Components:
        inputs.shared.get("shared work", lambda: time.sleep(0.05))
        time.sleep(self.seconds)
        return {"seconds": self.seconds}


def test_seconds_are_those_of_a_proxy_alone() -> None:
    first, second = Working("first"), Working("second", seconds=0.03)
    blind = Working("blind", needs_forward=False)
    free = Working("free", needs_forward=False, needs_network=False)
    network = CifarResNet([1, 1, 1], [8, 8, 16, 16])
    batch = MiniBatch(torch.zeros(4, 3, 8, 8), torch.arange(4))
    passed = forward(network, {"first": first, "second": second}, batch, Runtime())
    inputs = ProxyInput("a", 5, Cost(1, 2, 3), batch, network)
    one = Candidate(inputs, {}, passed, 10.0, 200.0)
    seconds = {p.name: one.measure(p.name, p)[1] for p in (first, second, blind, free)}
    assert 210.05 <= seconds["first"] < 215
    assert 210.08 <= seconds["second"] < 215  # shared work done for another counts in full
    assert 10.05 <= seconds["blind"] < 15  # and what it does not share is its own
    assert 0.05 <= seconds["free"] < 5


@pytest.mark.parametrize(
    "proxies", ["[diswot,relation]", "[recommended,effective_rank,effective_params,diswot]"]
)
@each_space
def test_scores_are_equal_to_the_bit(
    name: str, proxies: str, small_archs: Callable[..., list[Arch]]
) -> None:
    scorer = setup(f"space={name}", *SMALLER.get(name, ()), f"proxy={proxies}").scorer
    space, memory, rng = scorer.space, scorer.memory(), random.Random(0)
    [arch] = small_archs(space, 1)
    archs = [arch, *(space.mutate(arch, rng) for _ in range(5)), arch]
    for each in archs:
        assert bits(scorer.measure(each, memory)) == bits(scorer.measure(each))


@pytest.mark.parametrize(("proxies", "kept"), [("recommended", False), ("recommended,meco", True)])
def test_tensors_of_layers_are_kept_where_a_proxy_reads_them(proxies: str, kept: bool) -> None:
    scorer = s0_scorer(f"proxy=[{proxies}]")
    network = scorer.network(scorer.space.parse("s0:1-1-1"))
    passed = forward(network, scorer.proxies, scorer.batch, Runtime())
    assert len(passed.layers) == 10  # two of them projections, one the classifier
    assert [layer.tensors is not None for layer in passed.layers] == 10 * [kept]
    assert all(bool(layer.values) != kept for layer in passed.layers)


def test_shared_blocks_do_not_run_again() -> None:
    scorer = s0_scorer("proxy=diswot")
    memory, calls, real = scorer.memory(), [], ResidualBlock.preactivation

    def counted(block: ResidualBlock, x: torch.Tensor) -> torch.Tensor:
        if x.device.type != "meta":  # there, costs are counted
            calls.append(block)
        return real(block, x)

    with patch.object(ResidualBlock, "preactivation", counted):
        for text, blocks in [
            ("s0:1-3-5", 9),
            ("s0:1-3-7", 2),
            ("s0:1-5-5", 7),
            ("s0:1-3-3", 0),
            ("s0:3-3-5", 10),
        ]:
            calls.clear()
            scorer.measure(scorer.space.parse(text), memory)
            assert len(calls) == blocks, text


@pytest.mark.parametrize(
    ("proxy", "kept"),
    [
        *(("diswot", True), ("[diswot,params]", True), ("[diswot,zen]", True)),
        *(("[recommended,diswot]", True), ("[effective_rank,effective_params]", True)),
        # These watch modules, or read what ran inside.
        *(("[diswot,nwot]", False), ("[diswot,snip]", False), ("[diswot,meco]", False)),
    ],
)
def test_first_stages_are_kept_where_nobody_watches_modules(proxy: str, kept: bool) -> None:
    scorer = s0_scorer(f"proxy={proxy}")
    memory, arch = scorer.memory(), scorer.space.parse("s0:1-1-1")
    first, second = (scorer.measure(arch, memory) for _ in range(2))
    assert bits(first) == bits(second)
    keys = [("mini-batch", key) for key in scorer.space.prefixes(arch)]
    assert bool(memory.prefixes.longest(keys)) == kept


def test_a_pass_that_takes_more_than_half_of_the_cache_is_not_kept() -> None:
    scorer = s0_scorer("proxy=[recommended,diswot]")
    memory, arch = scorer.memory(), scorer.space.parse("s0:3-1-1")
    first = scorer.measure(arch, memory)
    keys = [("mini-batch", key) for key in scorer.space.prefixes(arch)]
    whole = sum(block.map.nbytes for block in memory.prefixes.longest(keys))
    small = memory._replace(prefixes=PrefixCache(limit=whole))
    assert bits(scorer.measure(arch, small)) == bits(first)
    assert small.prefixes.longest(keys) == []
    shorter = scorer.space.parse("s0:1-1-1")
    narrow = memory._replace(prefixes=PrefixCache(limit=2 * whole))
    assert bits(scorer.measure(shorter, narrow)) == bits(scorer.measure(shorter))
    assert bits(scorer.measure(arch, narrow)) == bits(first)
    assert narrow.prefixes.longest(keys)


def test_the_least_recently_used_maps_go_first() -> None:
    one, more = (Block(torch.full((256,), value), {}) for value in (0.0, 1.0))
    cache = PrefixCache(limit=3 * one.nbytes)
    cache.store(["a", "ab"], [one, more])
    cache.store(["c"], [one])
    assert [kept.map[0].item() for kept in cache.longest(["a", "ab", "abc"])] == [0, 1]
    cache.store(["d"], [one])
    assert cache.longest(["c"]) == []
    assert len(cache.longest(["a", "ab"])) == 2
    assert cache.longest(["b", "a"]) == []
    cache.store(["a"], [one])
    assert len(cache.longest(["d"])) == 1
