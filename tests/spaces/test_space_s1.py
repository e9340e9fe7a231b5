"""S1: its choices and its networks."""

from __future__ import annotations

from random import Random

import pytest
import torch
from spaces_helpers import draws, layers, make_space, on_meta

from diswot.errors import UserError
from diswot.models.cost import count_layers
from diswot.models.staged import BasicBlock, Bottleneck
from diswot.spaces import SpaceSize
from diswot.spaces.s1 import S1


@pytest.fixture(scope="module")
def s1() -> S1:
    return make_space("s1", S1)


def test_fixed_genes_never_mutate() -> None:
    space, rng = make_space("s1", S1, kernels=[5], blocks=["basic"]), Random(0)
    arch = space.sample(rng)
    for _ in range(50):
        arch = space.mutate(arch, rng)
        assert {(stage.block, stage.kernel) for stage in arch.stages} == {("basic", 5)}


def test_the_ranges_are_those_of_the_paper(s1: S1) -> None:
    choices = {gene.name: gene.choices for gene in s1.genes}
    assert choices["stem"] == tuple(range(8, 65, 8))
    for stage, widest in ((1, 64), (2, 128), (3, 256)):
        assert choices[f"depth of stage {stage}"] == tuple(range(1, 9))
        assert choices[f"kernel of stage {stage}"] == (3, 5, 7)
        assert choices[f"width of stage {stage}"] == tuple(range(8, widest + 1, 8))
        assert choices[f"middle width of stage {stage}"] == tuple(range(8, widest + 1, 8))
    assert s1.default_budget == {"params": 1e6}
    assert s1.size == SpaceSize(14843406974976)


def test_both_ends_of_every_gene_are_reached(s1: S1) -> None:
    least = [gene.choices[0] for gene in s1.genes]
    extremes = [least, [gene.choices[-1] for gene in s1.genes]]
    for index, gene in enumerate(s1.genes):
        extremes.append([*least[:index], gene.choices[-1], *least[index + 1 :]])
    for values in extremes:
        arch = s1.from_values(values)
        assert s1.values(s1.parse(str(arch))) == tuple(values)
        network = on_meta(s1, arch)
        assert count_layers(network) == arch.layers
        assert network.conv1.out_channels == values[0]
        assert [len(stage) for stage in network.stages] == values[3::5]
        kinds = [BasicBlock if block == "basic" else Bottleneck for block in values[1::5]]
        assert [type(stage[-1]) for stage in network.stages] == kinds


def test_every_choice_is_sampled(s1: S1) -> None:
    drawn = map(s1.values, draws(s1, 1000))
    for gene, values in zip(s1.genes, zip(*drawn, strict=True), strict=True):
        assert set(values) == set(gene.choices)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("s1:16/b3x1-8-8/b3x1-8-8", "has 2 stages; space s1 has 3"),
        ("s1:16" + "/b3x1-8-8" * 4, "has 4 stages; space s1 has 3"),
        ("s1:16/x3x1-8-8/b3x1-8-8/b3x1-8-8", "is not of space s1"),
        ("s1:/b3x1-8-8/b3x1-8-8/b3x1-8-8", "is not of space s1"),
        ("s1:16/b3x1-8-8/b3x1-257-8/b3x1-8-8", "middle width of stage 2 is 257; space s1 allows 8"),
        ("s1:016/b3x1-8-8/b3x1-8-8/b3x1-8-8", "canonical form, which is s1:16/"),
    ],
)
def test_other_texts_are_refused(s1: S1, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        s1.parse(text)


def test_networks_run_the_layers_they_say(s1: S1) -> None:
    network = on_meta(s1, "s1:16/b3x2-24-16/n5x2-8-64/b7x1-40-128")
    assert layers(network) == [
        (3, 16, 3, 1, 1),
        # stage 1, basic: K-K; no shape changes, so the shortcuts are the identity
        *[(16, 24, 3, 1, 1), (24, 16, 3, 1, 1)] * 2,
        # stage 2, bottleneck: 1-K-1 with the stride on K, then the projection
        *[(16, 8, 1, 1, 0), (8, 8, 5, 2, 2), (8, 64, 1, 1, 0), (16, 64, 1, 2, 0)],
        *[(64, 8, 1, 1, 0), (8, 8, 5, 1, 2), (8, 64, 1, 1, 0)],
        # stage 3, basic
        *[(64, 40, 7, 2, 3), (40, 128, 7, 1, 3), (64, 128, 1, 2, 0)],
    ]
    outputs = network.outputs(torch.empty(1, 3, 32, 32, device="meta"))
    shapes = [tuple(stage.shape[1:]) for stage in outputs.stages]
    assert shapes == [(16, 32, 32), (64, 16, 16), (128, 8, 8)]


def test_settings() -> None:
    assert make_space("s1", max_widths=[64, 128, 8]).embedding_width == 8
    with pytest.raises(UserError, match=r"space.blocks: 'conv'; allowed: basic, bottleneck"):
        make_space("s1", blocks=["conv"])
    with pytest.raises(UserError, match=r"space.kernels: 4 is even"):
        make_space("s1", kernels=[3, 4])
