"""The spaces of CIFAR networks, S0, S1 and NAS-Bench-201: choices, texts and networks."""

import csv
import gzip
import itertools
from pathlib import Path
from random import Random

import pytest
import torch
from spaces_helpers import layers, make_space, on_meta

from diswot.errors import UserError
from diswot.models.outputs import count_params
from diswot.scoring.budget import CostModel
from diswot.spaces import SpaceSize
from diswot.spaces.nasbench201 import NasBench201, NasBench201Arch
from diswot.spaces.s0 import S0
from diswot.spaces.s1 import S1

S1_SPACE = make_space("s1", S1)


def test_the_ranges_are_those_of_the_paper() -> None:
    choices = {gene.name: gene.choices for gene in S1_SPACE.genes}
    assert choices["stem"] == tuple(range(8, 65, 8))
    for stage, widest in ((1, 64), (2, 128), (3, 256)):
        assert choices[f"depth of stage {stage}"] == tuple(range(1, 9))
        assert choices[f"kernel of stage {stage}"] == (3, 5, 7)
        assert choices[f"width of stage {stage}"] == tuple(range(8, widest + 1, 8))
        assert choices[f"middle width of stage {stage}"] == tuple(range(8, widest + 1, 8))
    assert S1_SPACE.default_budget == {"params": 1e6}
    assert S1_SPACE.size == SpaceSize(14843406974976)
    assert make_space("s1", max_widths=[64, 128, 8]).embedding_width == 8


def test_s1_runs_the_layers_it_says() -> None:
    network = on_meta(S1_SPACE, "s1:16/b3x2-24-16/n5x2-8-64/b7x1-40-128")
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


S0_SPACE = make_space("s0", S0)


def test_the_64_networks_of_the_paper() -> None:
    choices = (1, 3, 5, 7)
    expected = [f"s0:{a}-{b}-{c}" for a in choices for b in choices for c in choices]
    assert [str(arch) for arch in S0_SPACE.enumerate()] == expected
    assert S0_SPACE.embedding_width == 64


def test_s0_runs_the_layers_it_says() -> None:
    assert layers(on_meta(S0_SPACE, "s0:1-3-1")) == [
        (3, 16, 3, 1, 1),
        *[(16, 16, 3, 1, 1)] * 2,
        *[(16, 32, 3, 2, 1), (32, 32, 3, 1, 1), (16, 32, 1, 2, 0)],
        *[(32, 32, 3, 1, 1)] * 4,
        *[(32, 64, 3, 2, 1), (64, 64, 3, 1, 1), (32, 64, 1, 2, 0)],
    ]


def test_a_single_architecture_has_no_neighbour() -> None:
    alone = make_space("s0", depths=[3])
    assert [str(arch) for arch in alone.enumerate()] == ["s0:3-3-3"]
    with pytest.raises(UserError, match="single architecture"):
        alone.mutate(alone.sample(Random(0)), Random(0))


CELLS = make_space("nasbench201", NasBench201)

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
TEXT = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|nor_conv_3x3~1|avg_pool_3x3~2|"
IMAGES = {"cifar10": (10, 32), "cifar10-valid": (10, 32), "cifar100": (100, 32)}
IMAGES["ImageNet16-120"] = (120, 16)


def params(arch: NasBench201Arch, space: NasBench201 = CELLS) -> int:
    return count_params(on_meta(space, arch))


def only(edge: int, operation: str) -> NasBench201Arch:
    operations = ["none"] * 6
    operations[edge] = operation
    return NasBench201Arch(tuple(operations))


def test_the_text_is_the_benchmarks() -> None:
    to_3 = ("nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
    assert CELLS.parse(TEXT).operations == ("nor_conv_3x3", "none", "skip_connect", *to_3)
    assert str(CELLS.parse(TEXT)) == TEXT
    assert (CELLS.size.count, CELLS.embedding_width) == (5**6, 64)


def test_settings_change_the_network() -> None:
    space = make_space("nasbench201", NasBench201, cells=2, widths=[8, 24])
    assert space.embedding_width == 24
    conv = 2 * sum(9 * width**2 + 2 * width for width in (8, 24))
    assert params(only(3, "nor_conv_3x3"), space) - params(only(3, "none"), space) == conv


@pytest.mark.data
def test_all_parameter_counts_are_the_published_ones(data_root: Path) -> None:
    base, choices = params(only(0, "none")), itertools.product(range(6), OPERATIONS)
    more = {choice: params(only(*choice)) - base for choice in choices}
    archs = []
    with gzip.open(data_root / "benchmarks" / "nasbench201.csv.gz", "rt") as file:
        for row in csv.DictReader(file):
            arch = CELLS.parse(row["cell"])
            count = base + sum(more[choice] for choice in enumerate(arch.operations))
            assert abs(count / 1e6 - float(row["params_m_cifar10"])) < 0.51e-4, row["cell"]
            archs.append((arch, count))
    assert len({arch for arch, _ in archs}) == 15625
    assert all(params(arch) == count for arch, count in Random(0).sample(archs, 20))


@pytest.mark.data
def test_costs_are_the_published_ones(data_root: Path) -> None:
    """The benchmark counts MACs of convolutions, plus one for each of the classifier's biases."""
    models = {
        dataset: (count, CostModel(CELLS, num_classes=count, image=(3, side, side)))
        for dataset, (count, side) in IMAGES.items()
    }
    compared = 0
    with (data_root / "published" / "params_flops.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] == "nb201_cell"]
    for row in rows:
        if not row["flops_convention"].startswith("NB201 counter") or not row["arch_str"]:
            continue
        num_classes, costs = models[row["dataset"]]
        arch = CELLS.parse(row["arch_str"])
        for count, published in (
            (costs.flops(arch) + num_classes, row["flops_M"]),
            (costs.params(arch), row["params_M"]),
        ):
            if published:
                decimals = len(published.partition(".")[2])
                assert abs(count / 1e6 - float(published)) < 0.501 * 10**-decimals, row["arch_str"]
                compared += 1
    assert compared > 20
