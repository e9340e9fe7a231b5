"""S2: its limits, draws and layers."""

import math
from collections import Counter
from random import Random

import pytest
import torch
from spaces_helpers import draws, make_space, on_meta

from diswot.errors import UserError
from diswot.models.outputs import count_layers
from diswot.models.resnet import BasicBlock
from diswot.scoring.budget import CostModel
from diswot.spaces import SpaceSize
from diswot.spaces.s1 import StagedArch
from diswot.spaces.s2 import S2

SPACE = make_space("s2", S2)

RESNET18 = "s2:64/b3x2-64/b3x2-128/b3x2-256/b3x2-512"
TINY = {"base": "s2:8/b3x1-16/b3x2-16", "width_limits": [1, 2], "max_layers": 8}


def test_resnet18_is_the_base() -> None:
    assert str(SPACE.base) == RESNET18
    assert SPACE.parse(RESNET18) == SPACE.base
    costs = CostModel(SPACE, num_classes=1000, image=(3, 224, 224))
    assert costs.params(SPACE.base) == 11_689_512
    assert costs.flops(SPACE.base) == 1_814_073_344
    assert costs.layers(SPACE.base) == SPACE.base.layers == 18


def test_layers_are_those_of_the_network() -> None:
    for arch in draws(SPACE, 10):
        network = on_meta(SPACE, arch)
        assert arch.layers == count_layers(network) <= 18
        assert network.conv1.out_channels == arch.stem
        outputs = network.outputs(torch.empty(1, 3, 224, 224, device="meta"))
        sides = (56, 28, 14, 7)  # as ResNet-18
        parts = zip(arch.stages, network.stages, outputs.stages, sides, strict=True)
        for stage, blocks, output, side in parts:
            convs = [conv for block in blocks for conv in (block.conv1, block.conv2)]
            assert {type(block) for block in blocks} == {BasicBlock}
            assert [conv.out_channels for conv in convs] == [stage.width] * 2 * stage.depth
            assert {conv.kernel_size[0] for conv in convs} == {stage.kernel}
            assert output.shape[1:] == (stage.width, side, side)


def test_a_small_space_is_counted_and_reached_as_a_whole() -> None:
    space = make_space("s2", S2, **TINY)
    # stem 8 or 16; widths 16, 24 or 32; three kernels; depths 1-1, 1-2, 2-1
    assert space.size == SpaceSize(2 * 3**2 * 3**2 * 3)
    listed = list(space.enumerate())
    assert len(set(listed)) == len(listed) == space.size.count
    rng, arch, seen = Random(0), space.base, set()
    for _ in range(20_000):
        arch = space.mutate(arch, rng)
        seen.add(arch)
    assert seen == set(listed)


def test_the_default_size() -> None:
    ends = [(16, 128), (16, 128), (32, 256), (64, 512), (128, 1024)]
    widths = math.prod((high - low) // 8 + 1 for low, high in ends)
    assert SPACE.size.count == widths * 3**4 * 70, "70 sets of depths with a sum of at most 8"


def changes(before: StagedArch, after: StagedArch) -> list[tuple[str, int, int]]:
    pairs = [("stem", before.stem, after.stem)]
    for old, new in zip(before.stages, after.stages, strict=True):
        pairs += [(k, getattr(old, k), getattr(new, k)) for k in ("kernel", "depth", "width")]
    return [pair for pair in pairs if pair[1] != pair[2]]


def test_a_mutation_changes_one_thing_by_one_step() -> None:
    rng, arch, kinds = Random(0), SPACE.base, Counter()
    for _ in range(3000):
        after = SPACE.mutate(arch, rng)
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


def test_samples_follow_the_distribution_it_says() -> None:
    archs = draws(SPACE, 4000)
    depths = Counter(tuple(stage.depth for stage in arch.stages) for arch in archs)
    assert len(depths) == 70
    assert max(depths.values()) < 3 * min(depths.values())
    kernels = Counter(stage.kernel for arch in archs for stage in arch.stages)
    assert all(abs(count / 16000 - 1 / 3) < 0.02 for count in kernels.values())
    below = sum(arch.stages[3].width < math.sqrt(128 * 1024) for arch in archs)
    assert abs(below / 4000 - 0.5) < 0.03
    assert {arch.stages[0].width for arch in archs} == set(range(16, 129, 8))


def test_prefixes_name_what_leads_to_a_block() -> None:
    one = SPACE.prefixes(SPACE.parse(RESNET18))
    other = SPACE.prefixes(SPACE.parse(RESNET18.replace("b3x2-256", "b5x2-256")))
    deeper = SPACE.prefixes(SPACE.parse(RESNET18.replace("b3x2-512", "b3x1-512")))
    assert len(set(one)) == 8
    assert [a == b for a, b in zip(one, other, strict=True)] == [True] * 4 + [False] * 4
    assert list(deeper) == list(one)[:7]


def test_a_single_architecture_has_no_neighbour() -> None:
    base = "s2:64/b3x1-64/b3x1-128/b3x1-256/b3x1-512"
    alone = make_space("s2", S2, base=base, kernels=[3], width_limits=[1, 1], max_layers=10)
    assert list(alone.enumerate()) == [alone.base] == [alone.sample(Random(0))]
    assert alone.embedding_width == 512
    with pytest.raises(UserError, match="has no neighbour: nothing to mutate"):
        alone.mutate(alone.base, Random(0))
