"""S2: its limits, draws and layers."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from itertools import pairwise
from random import Random

import pytest
import torch

from diswot.commands import compose
from diswot.config import make
from diswot.errors import UserError
from diswot.models.blocks import BasicBlock
from diswot.models.cost import count_layers
from diswot.scoring.budget import CostModel
from diswot.spaces.s2 import S2, S2Arch

RESNET18 = "s2:64/b3x2-64/b3x2-128/b3x2-256/b3x2-512"
TINY = ("space.base=s2:8/b3x1-16/b3x2-16", "space.width_limits=[1,2]", "space.max_layers=8")


def make_space(*overrides: str) -> S2:
    return make(compose("search", ["space=s2", *overrides], None)["space"], "space", S2)


@pytest.fixture(scope="module")
def s2() -> S2:
    return make_space()


def test_resnet18_is_the_base(s2: S2) -> None:
    assert str(s2.base) == RESNET18
    assert s2.parse(RESNET18) == s2.base
    costs = CostModel(s2, num_classes=1000, image=(3, 224, 224))
    assert costs.params(s2.base) == 11_689_512
    assert costs.flops(s2.base) == 1_814_073_344
    assert costs.layers(s2.base) == s2.base.layers == 18


def test_layers_are_those_of_the_network(s2: S2) -> None:
    rng = Random(0)
    for _ in range(10):
        arch = s2.sample(rng)
        with torch.device("meta"):
            network = s2.build(arch, num_classes=10)
        assert arch.layers == count_layers(network) <= 18
        assert network.conv1.out_channels == arch.stem
        for stage, blocks in zip(arch.stages, network.stages, strict=True):
            assert len(blocks) == stage.depth
            for block in blocks:
                assert isinstance(block, BasicBlock)
                assert block.conv1.kernel_size == block.conv2.kernel_size == (stage.kernel,) * 2
                assert block.conv1.out_channels == block.conv2.out_channels == stage.width


def test_strides_are_those_of_resnet18(s2: S2) -> None:
    with torch.device("meta"):
        network = s2.build(s2.parse("s2:64/b3x1-32/b5x1-128/b7x2-256/b3x4-512"), num_classes=10)
    outputs = network.outputs(torch.empty(1, 3, 224, 224, device="meta"))
    shapes = [tuple(stage.shape[1:]) for stage in outputs.stages]
    assert shapes == [(32, 56, 56), (128, 28, 28), (256, 14, 14), (512, 7, 7)]


def test_the_size_is_counted() -> None:
    space = make_space(*TINY)
    # stem 8 or 16; widths 16, 24 or 32; three kernels; depths 1-1, 1-2, 2-1
    assert space.size.exact
    assert space.size.count == 2 * 3**2 * 3**2 * 3
    listed = list(space.enumerate())
    assert len(set(listed)) == len(listed) == space.size.count
    depths = {tuple(stage.depth for stage in arch.stages) for arch in listed}
    assert depths == {(1, 1), (1, 2), (2, 1)}


def test_mutations_reach_the_whole_of_a_small_space() -> None:
    space = make_space(*TINY)
    rng, arch, seen = Random(0), space.base, set()
    for _ in range(20_000):
        arch = space.mutate(arch, rng)
        seen.add(arch)
    assert len(seen) == space.size.count


def test_the_default_size(s2: S2) -> None:
    depths = [d for d in itertools.product(range(1, 9), repeat=4) if sum(d) <= 8]
    ends = [(16, 128), (16, 128), (32, 256), (64, 512), (128, 1024)]
    widths = math.prod((high - low) // 8 + 1 for low, high in ends)
    assert s2.size.count == widths * 3**4 * len(depths)


def changes(before: S2Arch, after: S2Arch) -> list[tuple[str, int, int]]:
    found = [("stem", before.stem, after.stem)]
    for old, new in zip(before.stages, after.stages, strict=True):
        found += [(k, getattr(old, k), getattr(new, k)) for k in ("kernel", "depth", "width")]
    return [change for change in found if change[1] != change[2]]


def test_a_mutation_changes_one_thing_by_one_step(s2: S2) -> None:
    rng, arch, kinds = Random(0), s2.base, Counter()
    for _ in range(3000):
        after = s2.mutate(arch, rng)
        assert after.layers <= 18
        [(kind, old, new)] = changes(arch, after)
        kinds[kind] += 1
        if kind == "depth":
            assert abs(old - new) == 1
        elif kind != "kernel":
            scaled = [old * 1.5, old * 1.25, old / 1.25, old / 1.5]
            assert any(abs(new - width) <= 4 for width in scaled)
            assert new % 8 == 0
        arch = after
    assert 400 < kinds["stem"] < 800, "a fifth is expected"
    assert min(kinds["kernel"], kinds["depth"], kinds["width"]) > 400


def test_mutations_of_resnet18_are_these(s2: S2) -> None:
    rng = Random(0)
    found = {changes(s2.base, s2.mutate(s2.base, rng))[0] for _ in range(4000)}
    widths = {64: (96, 80, 48, 40), 128: (192, 160, 104, 88), 256: (384, 320, 208, 168)}
    widths[512] = (768, 640, 408, 344)
    expected = {("width", old, new) for old, news in widths.items() for new in news}
    expected |= {("stem", 64, new) for new in widths[64]}
    expected |= {("kernel", 3, 5), ("kernel", 3, 7), ("depth", 2, 1)}  # no room for a block more
    assert found == expected


def test_samples_follow_the_distribution_it_says(s2: S2) -> None:
    rng = Random(0)
    archs = [s2.sample(rng) for _ in range(4000)]
    depths = Counter(tuple(stage.depth for stage in arch.stages) for arch in archs)
    assert len(depths) == 70
    assert max(depths.values()) < 3 * min(depths.values())
    kernels = Counter(stage.kernel for arch in archs for stage in arch.stages)
    assert all(abs(count / 16000 - 1 / 3) < 0.02 for count in kernels.values())
    below = sum(arch.stages[3].width < math.sqrt(128 * 1024) for arch in archs)
    assert abs(below / 4000 - 0.5) < 0.03
    widths = {arch.stages[0].width for arch in archs}
    assert widths == set(range(16, 129, 8))


def test_prefixes_name_what_leads_to_a_stage(s2: S2) -> None:
    one = s2.prefixes(s2.parse(RESNET18))
    other = s2.prefixes(s2.parse(RESNET18.replace("b3x2-256", "b5x2-256")))
    assert len(one) == 3
    assert [a == b for a, b in zip(one, other, strict=True)] == [True, True, False]
    assert all(a != b for a, b in pairwise(one))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (RESNET18.replace("x2-512", "x3-512"), "has 20 layers; space.max_layers allows 18"),
        (RESNET18.replace("b3x2-128", "b4x2-128"), "kernel of stage 2 is 4; space s2 allows 3, 5"),
        (RESNET18.replace("x2-64", "x6-64"), "depth of stage 1 is 6; space s2 allows 1, 2, 3, 4"),
        (RESNET18.replace("-512", "-1032"), "width of stage 4 is 1032; space s2 allows 128, 136"),
        (RESNET18.replace("s2:64", "s2:60"), "stem is 60; space s2 allows 16, 24"),
        (RESNET18.replace("s2:64", "s2:064"), "canonical form, which is s2:64/"),
        ("s2:64/b3x2-64/b3x2-128", "has 2 stages; space s2 has 4"),
        ("s2:64/n3x2-64/b3x2-128", f"is not of space s2, which reads {RESNET18}"),
    ],
)
def test_what_is_outside_is_refused_and_named(s2: S2, text: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        s2.parse(text)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("space.max_layers=9", "space.max_layers=9 is not allowed; give a whole number of at le"),
        ("space.max_layers=16", "has 18 layers; space.max_layers allows 16"),
        ("space.kernels=[3,4]", "space.kernels: 4 is even"),
        ("space.kernels=[5,7]", "kernel of stage 1 is 3; space s2 allows 5, 7"),
        ("space.width_limits=[0.5]", "space.width_limits=[0.5]: give the narrowest and the widest"),
        ("space.width_limits=[0.5,0.9]", "space.width_limits=0.9 is not allowed"),
        ("space.width_factors=[0.5]", "space.width_factors=0.5 is not allowed"),
        ("space.width_step=0", "space.width_step=0 is not allowed"),
        ("space.base=resnet18", "space.base=resnet18 is not allowed; give one as s2:64/b3x2-64"),
    ],
)
def test_wrong_settings_are_refused_and_named(override: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        make_space(override)


def test_a_single_architecture_has_no_neighbour() -> None:
    settings = ("space.kernels=[3]", "space.width_limits=[1,1]", "space.max_layers=10")
    alone = make_space("space.base=s2:64/b3x1-64/b3x1-128/b3x1-256/b3x1-512", *settings)
    assert list(alone.enumerate()) == [alone.base] == [alone.sample(Random(0))]
    assert alone.embedding_width == 512
    with pytest.raises(UserError, match="has no neighbour: nothing to mutate"):
        alone.mutate(alone.base, Random(0))
