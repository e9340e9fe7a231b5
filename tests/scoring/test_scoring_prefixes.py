"""First stages that candidates share are not run again, and no bit changes."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from unittest.mock import patch

import pytest
import torch

from diswot.commands import compose
from diswot.models.blocks import ResidualBlock
from diswot.scoring.prefixes import PrefixCache
from diswot.scoring.setup import Setup
from diswot.spaces import Arch

TINY = ["data=gaussian", "data.batch_size=6", "data.image_size=16", "teacher=resnet8"]


def setup(*overrides: str) -> Setup:
    return Setup.from_config({**compose("search", [*TINY, *overrides], None), "device": "cpu"})


@pytest.mark.parametrize("space", ["s0", "s1"])
def test_scores_are_equal_to_the_bit(space: str, small_archs: Callable[..., list[Arch]]) -> None:
    scorer = setup(f"space={space}").scorer
    rng, memory = Random(3), scorer.memory()
    [arch] = small_archs(scorer.space, 1)
    for _ in range(8):
        assert scorer.measure(arch, memory).parts == scorer.measure(arch).parts
        arch = scorer.space.mutate(arch, rng)


def test_shared_stages_do_not_run_again() -> None:
    scorer = setup("space=s0").scorer
    memory = scorer.memory()
    calls = []
    real = ResidualBlock.preactivation

    def counted(block: ResidualBlock, x: torch.Tensor) -> torch.Tensor:
        if x.device.type != "meta":  # there, costs are counted
            calls.append(block)
        return real(block, x)

    with patch.object(ResidualBlock, "preactivation", counted):
        for text, blocks in [("s0:1-3-5", 9), ("s0:1-3-7", 7), ("s0:1-5-5", 10), ("s0:3-3-5", 11)]:
            calls.clear()
            scorer.measure(scorer.space.parse(text), memory)
            assert len(calls) == blocks, text


def test_a_proxy_that_watches_modules_sees_all_of_them_run() -> None:
    scorer = setup("space=s0", "proxy=[diswot,nwot]").scorer
    memory = scorer.memory()
    arch = scorer.space.parse("s0:3-3-3")
    assert scorer.measure(arch, memory).parts == scorer.measure(arch, memory).parts


def test_the_least_recently_used_maps_go_first() -> None:
    one = torch.zeros(256)  # 1,024 bytes
    cache = PrefixCache(limit=3 * one.nbytes)
    cache.store(["a", "ab"], [one, one])
    cache.store(["c"], [one])
    assert len(cache.longest(["a", "ab", "abc"])) == 2
    cache.store(["d"], [one])
    assert cache.longest(["c"]) == []
    assert len(cache.longest(["a", "ab"])) == 2
    assert cache.longest(["b", "a"]) == []
