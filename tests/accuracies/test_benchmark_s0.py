"""The published figures of S0."""

import csv
import hashlib
from importlib.resources import files
from pathlib import Path

import pytest

from diswot.accuracies.s0 import S0Cifar100
from diswot.spaces.s0 import S0


@pytest.fixture
def s0() -> S0Cifar100:
    return S0Cifar100(name="s0", space="s0")


def test_figures(s0: S0Cifar100) -> None:
    assert len(s0.archs()) == 64
    assert s0.entries() == [("cifar100", "vanilla"), ("cifar100", "distilled")]
    assert s0.accuracy("s0:1-1-1", "cifar100") == 60.2
    assert s0.accuracy("s0:1-1-1", "cifar100", "distilled") == 61.87


def test_knows_the_archs_of_the_space(s0: S0Cifar100) -> None:
    space = S0(name="s0", depths=[1, 3, 5, 7], widths=[16, 16, 32, 64])
    assert set(map(str, space.enumerate())) == set(s0.archs())
    arch = space.parse("s0:1-1-1")
    assert s0.accuracy(arch, "cifar100", "distilled") == 61.87


def test_notice_names_the_file() -> None:
    assets = files("diswot") / "assets"
    digest = hashlib.sha256((assets / "s0_cifar100.csv").read_bytes()).hexdigest()
    notice = (assets / "NOTICE").read_text(encoding="utf-8")
    assert f"sha256:  {digest}" in notice
    assert "lilujunai/DisWOT-CVPR2023 (Apache-2.0)" in notice


@pytest.mark.data
def test_equals_the_source(s0: S0Cifar100, data_root: Path) -> None:
    with (data_root / "benchmarks" / "s0_cifar100.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 64
    for row in rows:
        arch = "s0:{depth1}-{depth2}-{depth3}".format(**row)
        assert s0.accuracy(arch, "cifar100") == float(row["vanilla_top1"])
        assert s0.accuracy(arch, "cifar100", "distilled") == float(row["kd_top1"])
