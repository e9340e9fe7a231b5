"""Fixtures every test may use."""

import gc
import os
import pickle
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from diswot import _torchvision
from diswot.models.outputs import count_params
from diswot.scoring.budget import CostModel
from diswot.spaces import Arch, Space


def pytest_configure() -> None:
    """Settle what holds for all tests.

    Warnings of lightning are of classes that the process which collects them imports too. One
    thread, here and in what tests start: workers that share cores wait for each other's threads
    several times as long as they compute. Rare garbage collections: composing a config, which most
    tests do, makes many small objects and takes a sixth less time. What models of timm cost is
    kept in a folder of the tests.
    """
    gc.set_threshold(50_000)
    _torchvision.ensure()
    os.environ.setdefault("XDG_CACHE_HOME", tempfile.mkdtemp(prefix="diswot-cache-"))
    torch.set_num_threads(int(os.environ.setdefault("OMP_NUM_THREADS", "1")))


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


_COSTS: dict[tuple[object, ...], Any] = {}


@pytest.fixture(scope="module")
def known_costs() -> Iterator[None]:
    """What an architecture costs is counted once for all tests; most of a cheap search is that."""
    real = CostModel.__init__

    def begin(self: CostModel, space: Space, **sizes: Any) -> None:
        real(self, space, **sizes)
        key = pickle.dumps(space), *sorted(sizes.items())
        self._known = _COSTS.setdefault(key, self._known)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CostModel, "__init__", begin)
        yield


@pytest.fixture
def two_threads() -> Iterator[None]:
    """As many as a user's process may have, where that they are left alone is tested."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)
