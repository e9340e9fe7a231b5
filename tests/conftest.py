"""Fixtures every test may use."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random

import pytest
import torch

from diswot import _torchvision
from diswot.scoring.cost import count_params
from diswot.spaces import Arch, Space


def pytest_configure() -> None:
    """Warnings of lightning are of classes that the process which collects them imports too."""
    _torchvision.ensure()


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder named by DISWOT_DATA; tests that use it carry the marker ``data``."""
    value = os.environ.get("DISWOT_DATA")
    if not value:
        pytest.skip("set DISWOT_DATA to a folder laid out as docs/data.md says")
    root = Path(value)
    if not root.is_dir():
        pytest.fail(f"DISWOT_DATA={value} is no folder")
    return root


@pytest.fixture(scope="session")
def small_archs() -> Callable[[Space, int], list[Arch]]:
    """The architectures with the fewest parameters of some random ones."""

    @cache
    def choose(space: Space, count: int) -> list[Arch]:
        def size(arch: Arch) -> tuple[int, str]:
            with torch.device("meta"):
                return count_params(space.build(arch, num_classes=10)), str(arch)

        rng = Random(0)
        return sorted({space.sample(rng) for _ in range(25)}, key=size)[:count]

    return choose
