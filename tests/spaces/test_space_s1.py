"""S1: its choices and its networks."""

from __future__ import annotations

from random import Random

import torch
from spaces_helpers import draws, layers, make_space, on_meta

from diswot.models.outputs import count_layers
from diswot.models.resnet import BasicBlock, Bottleneck
from diswot.spaces import SpaceSize
from diswot.spaces.s1 import S1

SPACE = make_space("s1", S1)


def test_fixed_genes_never_mutate() -> None:
    space, rng = make_space("s1", S1, kernels=[5], blocks=["basic"]), Random(0)
    arch = space.sample(rng)
    for _ in range(50):
        arch = space.mutate(arch, rng)
        assert {(stage.block, stage.kernel) for stage in arch.stages} == {("basic", 5)}


def test_the_ranges_are_those_of_the_paper() -> None:
    choices = {gene.name: gene.choices for gene in SPACE.genes}
    assert choices["stem"] == tuple(range(8, 65, 8))
    for stage, widest in ((1, 64), (2, 128), (3, 256)):
        assert choices[f"depth of stage {stage}"] == tuple(range(1, 9))
        assert choices[f"kernel of stage {stage}"] == (3, 5, 7)
        assert choices[f"width of stage {stage}"] == tuple(range(8, widest + 1, 8))
        assert choices[f"middle width of stage {stage}"] == tuple(range(8, widest + 1, 8))
    assert SPACE.default_budget == {"params": 1e6}
    assert SPACE.size == SpaceSize(14843406974976)


def test_both_ends_of_every_gene_are_reached() -> None:
    least = [gene.choices[0] for gene in SPACE.genes]
    extremes = [least, [gene.choices[-1] for gene in SPACE.genes]]
    for index, gene in enumerate(SPACE.genes):
        extremes.append([*least[:index], gene.choices[-1], *least[index + 1 :]])
    for values in extremes:
        arch = SPACE.from_values(values)
        assert SPACE.values(SPACE.parse(str(arch))) == tuple(values)
        network = on_meta(SPACE, arch)
        assert count_layers(network) == arch.layers
        assert network.conv1.out_channels == values[0]
        assert [len(stage) for stage in network.stages] == values[3::5]
        kinds = [BasicBlock if block == "basic" else Bottleneck for block in values[1::5]]
        assert [type(stage[-1]) for stage in network.stages] == kinds


def test_every_choice_is_sampled() -> None:
    drawn = map(SPACE.values, draws(SPACE, 1000))
    for gene, values in zip(SPACE.genes, zip(*drawn, strict=True), strict=True):
        assert set(values) == set(gene.choices)


def test_networks_run_the_layers_they_say() -> None:
    network = on_meta(SPACE, "s1:16/b3x2-24-16/n5x2-8-64/b7x1-40-128")
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


def test_the_embedding_width_is_known_where_one_is_allowed() -> None:
    assert make_space("s1", max_widths=[64, 128, 8]).embedding_width == 8
