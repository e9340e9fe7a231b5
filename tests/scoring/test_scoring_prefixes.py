"""First stages that candidates share are not run again, and no bit changes."""

from __future__ import annotations

import random
from collections.abc import Callable
from unittest.mock import patch

import pytest
import torch
from scoring_helpers import bits, each_space, s0_scorer, setup

from diswot.models.resnet import ResidualBlock
from diswot.scoring.runtime import PrefixCache
from diswot.spaces import Arch


@each_space
def test_scores_are_equal_to_the_bit(name: str, small_archs: Callable[..., list[Arch]]) -> None:
    scorer = setup(f"space={name}", "proxy=[diswot,relation]").scorer
    space, memory, rng = scorer.space, scorer.memory(), random.Random(0)
    [arch] = small_archs(space, 1)
    archs = [arch, *(space.mutate(arch, rng) for _ in range(5)), arch]
    for each in archs:
        assert bits(scorer.measure(each, memory)) == bits(scorer.measure(each))


def test_shared_stages_do_not_run_again() -> None:
    scorer = s0_scorer("proxy=diswot")
    memory, calls, real = scorer.memory(), [], ResidualBlock.preactivation

    def counted(block: ResidualBlock, x: torch.Tensor) -> torch.Tensor:
        if x.device.type != "meta":  # there, costs are counted
            calls.append(block)
        return real(block, x)

    with patch.object(ResidualBlock, "preactivation", counted):
        for text, blocks in [("s0:1-3-5", 9), ("s0:1-3-7", 7), ("s0:1-5-5", 10), ("s0:3-3-5", 11)]:
            calls.clear()
            scorer.measure(scorer.space.parse(text), memory)
            assert len(calls) == blocks, text


@pytest.mark.parametrize(
    ("proxy", "kept"),
    [
        *(("diswot", True), ("[diswot,params]", True), ("[diswot,zen]", True)),
        # These watch modules, or read what ran inside.
        *(("[diswot,nwot]", False), ("[diswot,snip]", False), ("[diswot,effective_rank]", False)),
    ],
)
def test_first_stages_are_kept_where_nobody_watches_modules(proxy: str, kept: bool) -> None:
    scorer = s0_scorer(f"proxy={proxy}")
    memory, arch = scorer.memory(), scorer.space.parse("s0:1-1-1")
    first, second = (scorer.measure(arch, memory) for _ in range(2))
    assert bits(first) == bits(second)
    assert bool(memory.prefixes.longest(scorer.space.prefixes(arch))) == kept


def test_the_least_recently_used_maps_go_first() -> None:
    one = torch.zeros(256)
    cache = PrefixCache(limit=3 * one.nbytes)
    cache.store(["a", "ab"], [one, one + 1])
    cache.store(["c"], [one])
    assert [kept[0].item() for kept in cache.longest(["a", "ab", "abc"])] == [0, 1]
    cache.store(["d"], [one])
    assert cache.longest(["c"]) == []
    assert len(cache.longest(["a", "ab"])) == 2
    assert cache.longest(["b", "a"]) == []
    cache.store(["a"], [one])
    assert len(cache.longest(["d"])) == 1
