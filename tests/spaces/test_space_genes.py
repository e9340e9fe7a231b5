"""Genes, and the two spaces of the paper."""

from __future__ import annotations

import math
import re
from random import Random
from typing import TypeVar

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from diswot.commands import compose
from diswot.config import conf_dir, make
from diswot.errors import UserError
from diswot.models.blocks import BasicBlock, Bottleneck
from diswot.spaces import SpaceSize
from diswot.spaces.product import Gene, steps
from diswot.spaces.s0 import S0
from diswot.spaces.s1 import S1

T = TypeVar("T")


def make_space(name: str, kind: type[T], *overrides: str) -> T:
    return make(compose("search", [f"space={name}", *overrides], None)["space"], "space", kind)


@pytest.fixture(scope="module")
def s0() -> S0:
    return make_space("s0", S0)


@pytest.fixture(scope="module")
def s1() -> S1:
    return make_space("s1", S1)


def layers(network: nn.Module) -> list[tuple[int, ...]]:
    """(in, out, kernel, stride, padding) of the convolutions, in the order in which they run."""
    ran: list[tuple[int, ...]] = []

    def note(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        assert module.bias is None
        assert module.groups == 1
        sizes = (module.kernel_size[0], module.stride[0], module.padding[0])
        ran.append((module.in_channels, module.out_channels, *map(int, sizes)))

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(note)
    network(torch.empty(1, 3, 32, 32, device="meta"))
    return ran


def test_steps_include_both_ends() -> None:
    assert steps(8, 24, 8) == (8, 16, 24)
    assert steps(3, 3) == (3,)


@pytest.mark.parametrize("ordered", [False, True])
def test_a_gene_mutates_to_other_choices(ordered: bool) -> None:
    gene = Gene("g", steps(1, 12), ordered=ordered)
    rng = Random(0)
    for value in gene.choices:
        found = {gene.mutate(value, rng) for _ in range(300)}
        near = {v for v in gene.choices if v != value and (not ordered or abs(v - value) <= 3)}
        assert found == near


def test_a_gene_of_two_flips() -> None:
    gene = Gene("g", ("a", "b"))
    assert gene.mutate("a", Random(0)) == "b"
    assert Gene("g", (1, 2), ordered=True).mutate(2, Random(0)) == 1


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (SpaceSize(64), "64"),
        (SpaceSize(15625), "15,625"),
        (SpaceSize(14843406974976), "1.48e+13"),
        (SpaceSize(1000, exact=False), "at least 1,000"),
    ],
)
def test_sizes_read_well(size: SpaceSize, text: str) -> None:
    assert str(size) == text


@pytest.mark.parametrize("depths", ["[]", "[1,1]"])
def test_bad_choices_are_refused(depths: str) -> None:
    with pytest.raises(UserError, match=r"space=s0: depth of stage 1 .* at least one"):
        make_space("s0", S0, f"space.depths={depths}")


def test_a_single_architecture_has_no_neighbour() -> None:
    alone = make_space("s0", S0, "space.depths=[3]")
    assert [str(arch) for arch in alone.enumerate()] == ["s0:3-3-3"]
    with pytest.raises(UserError, match="single architecture"):
        alone.mutate(alone.sample(Random(0)), Random(0))


def test_fixed_genes_never_mutate() -> None:
    space = make_space("s1", S1, "space.kernels=[5]", "space.blocks=[basic]")
    rng = Random(0)
    arch = space.sample(rng)
    for _ in range(50):
        arch = space.mutate(arch, rng)
        assert {(stage.block, stage.kernel) for stage in arch.stages} == {("basic", 5)}


def test_s0_is_the_64_networks_of_the_paper(s0: S0) -> None:
    listed = {str(arch) for arch in s0.enumerate()}
    choices = (1, 3, 5, 7)
    assert listed == {f"s0:{a}-{b}-{c}" for a in choices for b in choices for c in choices}
    assert s0.embedding_width == 64


def test_s0_runs_the_layers_it_says(s0: S0) -> None:
    with torch.device("meta"):
        network = s0.build(s0.parse("s0:1-3-1"), num_classes=10)
    assert [len(stage) for stage in network.stages] == [1, 3, 1]
    assert layers(network) == [
        (3, 16, 3, 1, 1),
        *[(16, 16, 3, 1, 1)] * 2,
        *[(16, 32, 3, 2, 1), (32, 32, 3, 1, 1), (16, 32, 1, 2, 0)],
        *[(32, 32, 3, 1, 1)] * 4,
        *[(32, 64, 3, 2, 1), (64, 64, 3, 1, 1), (32, 64, 1, 2, 0)],
    ]


def test_s0_refuses_a_depth_and_names_it(s0: S0) -> None:
    with pytest.raises(UserError, match=r"'s0:1-2-5': depth of stage 2 is 2; .* 1, 3, 5, 7"):
        s0.parse("s0:1-2-5")
    with pytest.raises(UserError, match=r"canonical form, which is s0:1-3-5"):
        s0.parse("s0:1-03-5")
    with pytest.raises(UserError, match=r"which reads s0:1-1-1"):
        s0.parse("s0:1-3")


def test_s1_has_the_size_its_yaml_says(s1: S1) -> None:
    node = OmegaConf.load(conf_dir() / "space" / "s1.yaml")
    count = node.max_stem // node.width_step
    for widest in node.max_widths:
        widths = len([w for w in range(1, widest + 1) if w % node.width_step == 0])
        count *= len(node.blocks) * len(node.kernels) * node.max_depth * widths**2
    assert s1.size == SpaceSize(count)
    assert count == 14843406974976


def test_s1_has_the_ranges_of_the_paper(s1: S1) -> None:
    ends = {gene.name: (gene.choices[0], gene.choices[-1]) for gene in s1.genes}
    assert ends["stem"] == (8, 64)
    for stage, widest in ((1, 64), (2, 128), (3, 256)):
        assert ends[f"depth of stage {stage}"] == (1, 8)
        assert ends[f"kernel of stage {stage}"] == (3, 7)
        assert ends[f"width of stage {stage}"] == (8, widest)
        assert ends[f"middle width of stage {stage}"] == (8, widest)
    for gene in s1.genes:
        if gene.name.startswith("kernel"):
            assert gene.choices == (3, 5, 7)
        if "width" in gene.name or gene.name == "stem":
            assert all(int(choice) % 8 == 0 for choice in gene.choices)
    assert s1.default_budget == {"params": 1e6}
    assert math.prod(len(gene.choices) for gene in s1.genes) == s1.size.count


def test_s1_reaches_both_ends_of_every_gene(s1: S1) -> None:
    least = [gene.choices[0] for gene in s1.genes]
    most = [gene.choices[-1] for gene in s1.genes]
    extremes = [least, most]
    for index, gene in enumerate(s1.genes):
        extremes.append([*least[:index], gene.choices[-1], *least[index + 1 :]])
    for values in extremes:
        arch = s1.from_values(values)
        assert s1.values(s1.parse(str(arch))) == tuple(values)
        with torch.device("meta"):
            network = s1.build(arch, num_classes=10)
        assert network.conv1.out_channels == values[0]
        blocks = [(block, depth) for block, depth in zip(values[1::5], values[3::5], strict=True)]
        for stage, (block, depth) in zip(network.stages, blocks, strict=True):
            assert len(stage) == depth
            assert {type(b) for b in stage} == {BasicBlock if block == "basic" else Bottleneck}


def test_s1_samples_every_choice(s1: S1) -> None:
    rng = Random(0)
    drawn = [s1.values(s1.sample(rng)) for _ in range(1000)]
    for gene, values in zip(s1.genes, zip(*drawn, strict=True), strict=True):
        assert set(values) == set(gene.choices)


def test_s1_refuses_what_is_out_of_range_and_names_it(s1: S1) -> None:
    least = [gene.choices[0] for gene in s1.genes]
    for index, gene in enumerate(s1.genes):
        if not isinstance(gene.choices[0], int):
            continue
        for value in (0, int(gene.choices[-1]) + 1, int(gene.choices[-1]) + 8):
            text = str(s1.from_values([*least[:index], value, *least[index + 1 :]]))
            with pytest.raises(UserError, match=re.escape(f"{gene.name} is {value}; space s1")):
                s1.parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("s1:16/b3x1-8-8/b3x1-8-8", "has 2 stages; space s1 has 3"),
        ("s1:16" + "/b3x1-8-8" * 4, "has 4 stages; space s1 has 3"),
        ("s1:16", "has 0 stages|is not of space"),
        ("s1:16/x3x1-8-8/b3x1-8-8/b3x1-8-8", "is not of space s1"),
        ("s1:/b3x1-8-8/b3x1-8-8/b3x1-8-8", "is not of space s1"),
        ("s1:016/b3x1-8-8/b3x1-8-8/b3x1-8-8", "canonical form, which is s1:16/"),
    ],
)
def test_s1_refuses_another_form(s1: S1, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        s1.parse(text)


def test_s1_runs_the_layers_it_says(s1: S1) -> None:
    with torch.device("meta"):
        network = s1.build(s1.parse("s1:16/b3x2-24-16/n5x2-8-64/b7x1-40-128"), num_classes=10)
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
    assert [tuple(stage.shape[1:]) for stage in outputs.stages] == [
        (16, 32, 32),
        (64, 16, 16),
        (128, 8, 8),
    ]


def test_s1_embedding_width_is_known_where_one_is_allowed() -> None:
    space = make_space("s1", S1, "space.max_widths=[64,128,8]")
    assert space.embedding_width == 8


def test_s1_refuses_an_unknown_block() -> None:
    with pytest.raises(UserError, match=r"space.blocks: 'conv'; allowed: basic, bottleneck"):
        make_space("s1", S1, "space.blocks=[conv]")
