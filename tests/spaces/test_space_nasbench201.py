"""The cells of NAS-Bench-201: notation, isomorphism, and the published network."""

from __future__ import annotations

import csv
import gzip
import re
from collections import defaultdict
from pathlib import Path
from random import Random

import pytest
from spaces_helpers import make_space, on_meta

from diswot.errors import UserError
from diswot.models.cost import count_params
from diswot.scoring.budget import CostModel
from diswot.spaces.nasbench201 import NasBench201, NasBench201Arch

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
TEXT = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|nor_conv_3x3~1|avg_pool_3x3~2|"
IMAGES = {"cifar10": (10, 32), "cifar10-valid": (10, 32), "cifar100": (100, 32)}
IMAGES["ImageNet16-120"] = (120, 16)


@pytest.fixture(scope="module")
def space() -> NasBench201:
    return make_space("nasbench201", NasBench201)


def params(space: NasBench201, arch: NasBench201Arch) -> int:
    return count_params(on_meta(space, arch))


def only(edge: int, operation: str) -> NasBench201Arch:
    operations = ["none"] * 6
    operations[edge] = operation
    return NasBench201Arch(tuple(operations))


def test_the_text_is_the_benchmarks(space: NasBench201) -> None:
    arch = space.parse(TEXT)
    to_3 = ("nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
    assert arch.operations == ("nor_conv_3x3", "none", "skip_connect", *to_3)
    assert str(arch) == TEXT
    assert space.size.count == 5**6
    assert space.embedding_width == 64


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TEXT.replace("skip_connect", "conv"), "operation from node 1 to 2 is conv; space nas"),
        (TEXT.replace("~2", "~1"), "is not of space nasbench201, which reads |skip_connect~0|+"),
        (f"nasbench201:{TEXT}", "is not of space nasbench201"),
        (TEXT.replace("+", ""), "is not of space nasbench201"),
    ],
)
def test_other_texts_are_refused(space: NasBench201, text: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        space.parse(text)


@pytest.mark.parametrize(("setting", "value"), [("cells", 0), ("widths", []), ("widths", [16, 0])])
def test_wrong_settings_are_refused_and_named(setting: str, value: object) -> None:
    with pytest.raises(UserError, match=f"space.{setting}"):
        make_space("nasbench201", **{setting: value})


def test_settings_change_the_network() -> None:
    space = make_space("nasbench201", NasBench201, cells=2, widths=[8, 24])
    assert space.embedding_width == 24
    conv = 2 * sum(9 * width**2 + 2 * width for width in (8, 24))
    assert params(space, only(3, "nor_conv_3x3")) - params(space, only(3, "none")) == conv


def test_the_benchmark_has_6466_topologies(space: NasBench201) -> None:
    assert len({space.canonical(arch) for arch in space.enumerate()}) == 6466


def test_fully_simplified_4930_remain(space: NasBench201) -> None:
    """Each operation as an arbitrary function that keeps zero, on integers modulo a prime."""
    prime, factors = 2**61 - 1, {"nor_conv_1x1": 3, "nor_conv_3x3": 5, "avg_pool_3x3": 7}

    def apply(operation: str, value: int) -> int:
        if operation in factors:
            return factors[operation] * pow(value, factors[operation], prime) % prime
        return value if operation == "skip_connect" else 0

    results = defaultdict(set)
    for arch in space.enumerate():
        operations, nodes = iter(arch.operations), [123456789123456789]
        for _ in range(3):
            nodes.append(sum(apply(next(operations), value) for value in nodes) % prime)
        results[nodes[-1]].add(space.canonical(arch))
    assert len(results) == 4930
    assert sum(map(len, results.values())) == 6466, "equal texts gave different functions"


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        (
            "|nor_conv_3x3~0|+|none~0|none~1|+|avg_pool_3x3~0|skip_connect~1|none~2|",
            "#+(0)@avg_pool_3x3+(0)@nor_conv_3x3",
        ),
        (
            "|avg_pool_3x3~0|+|none~0|none~1|+|nor_conv_3x3~0|skip_connect~1|none~2|",
            "#+(0)@avg_pool_3x3+(0)@nor_conv_3x3",
        ),
        # Zeros inside sums are kept: the same function, through node 1 and through node 2.
        (
            "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|nor_conv_1x1~1|none~2|",
            "#+#+((0)@nor_conv_3x3)@nor_conv_1x1",
        ),
        (
            "|none~0|+|nor_conv_3x3~0|none~1|+|none~0|none~1|nor_conv_1x1~2|",
            "#+#+(#+(0)@nor_conv_3x3)@nor_conv_1x1",
        ),
    ],
)
def test_isomorphic_cells_share_a_text(space: NasBench201, text: str, canonical: str) -> None:
    assert space.canonical(space.parse(text)) == canonical


@pytest.mark.data
def test_all_parameter_counts_are_the_published_ones(space: NasBench201, data_root: Path) -> None:
    base = params(space, only(0, "none"))
    more = {
        (edge, operation): params(space, only(edge, operation)) - base
        for edge in range(6)
        for operation in OPERATIONS
    }
    archs, rng = [], Random(0)
    with gzip.open(data_root / "benchmarks" / "nasbench201.csv.gz", "rt") as file:
        for row in csv.DictReader(file):
            arch = space.parse(row["cell"])
            count = base + sum(more[choice] for choice in enumerate(arch.operations))
            assert abs(count / 1e6 - float(row["params_m_cifar10"])) < 0.51e-4, row["cell"]
            archs.append((arch, count))
    assert len({arch for arch, _ in archs}) == 15625
    assert all(params(space, arch) == count for arch, count in rng.sample(archs, 20))


@pytest.mark.data
def test_costs_are_the_published_ones(space: NasBench201, data_root: Path) -> None:
    """The benchmark counts MACs of convolutions, plus one for each of the classifier's biases."""
    models = {
        dataset: (count, CostModel(space, num_classes=count, image=(3, side, side)))
        for dataset, (count, side) in IMAGES.items()
    }
    compared = 0
    with (data_root / "published" / "params_flops.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] == "nb201_cell"]
    for row in rows:
        if not row["flops_convention"].startswith("NB201 counter") or not row["arch_str"]:
            continue
        num_classes, costs = models[row["dataset"]]
        arch = space.parse(row["arch_str"])
        for count, published in (
            (costs.flops(arch) + num_classes, row["flops_M"]),
            (costs.params(arch), row["params_M"]),
        ):
            if published:
                decimals = len(published.partition(".")[2])
                assert abs(count / 1e6 - float(published)) < 0.501 * 10**-decimals, row["arch_str"]
                compared += 1
    assert compared > 20
