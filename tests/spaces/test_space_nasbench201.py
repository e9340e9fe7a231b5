"""The cells of NAS-Bench-201: notation and the published network."""

from __future__ import annotations

import csv
import gzip
import itertools
from pathlib import Path
from random import Random

import pytest
from spaces_helpers import make_space, on_meta

from diswot.models.outputs import count_params
from diswot.scoring.budget import CostModel
from diswot.spaces.nasbench201 import NasBench201, NasBench201Arch

SPACE = make_space("nasbench201", NasBench201)

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
TEXT = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|nor_conv_3x3~1|avg_pool_3x3~2|"
IMAGES = {"cifar10": (10, 32), "cifar10-valid": (10, 32), "cifar100": (100, 32)}
IMAGES["ImageNet16-120"] = (120, 16)


def params(arch: NasBench201Arch, space: NasBench201 = SPACE) -> int:
    return count_params(on_meta(space, arch))


def only(edge: int, operation: str) -> NasBench201Arch:
    operations = ["none"] * 6
    operations[edge] = operation
    return NasBench201Arch(tuple(operations))


def test_the_text_is_the_benchmarks() -> None:
    to_3 = ("nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
    assert SPACE.parse(TEXT).operations == ("nor_conv_3x3", "none", "skip_connect", *to_3)
    assert str(SPACE.parse(TEXT)) == TEXT
    assert (SPACE.size.count, SPACE.embedding_width) == (5**6, 64)


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
            arch = SPACE.parse(row["cell"])
            count = base + sum(more[choice] for choice in enumerate(arch.operations))
            assert abs(count / 1e6 - float(row["params_m_cifar10"])) < 0.51e-4, row["cell"]
            archs.append((arch, count))
    assert len({arch for arch, _ in archs}) == 15625
    assert all(params(arch) == count for arch, count in Random(0).sample(archs, 20))


@pytest.mark.data
def test_costs_are_the_published_ones(data_root: Path) -> None:
    """The benchmark counts MACs of convolutions, plus one for each of the classifier's biases."""
    models = {
        dataset: (count, CostModel(SPACE, num_classes=count, image=(3, side, side)))
        for dataset, (count, side) in IMAGES.items()
    }
    compared = 0
    with (data_root / "published" / "params_flops.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] == "nb201_cell"]
    for row in rows:
        if not row["flops_convention"].startswith("NB201 counter") or not row["arch_str"]:
            continue
        num_classes, costs = models[row["dataset"]]
        arch = SPACE.parse(row["arch_str"])
        for count, published in (
            (costs.flops(arch) + num_classes, row["flops_M"]),
            (costs.params(arch), row["params_M"]),
        ):
            if published:
                decimals = len(published.partition(".")[2])
                assert abs(count / 1e6 - float(published)) < 0.501 * 10**-decimals, row["arch_str"]
                compared += 1
    assert compared > 20
