"""Fixtures of the proxy tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from proxy_helpers import TINY, TRANSFORMERS, Company, GoldenNetwork, members
from torch import Tensor, nn

from diswot.commands import compose
from diswot.data import MiniBatch
from diswot.models.outputs import Cost
from diswot.proxies import Proxy
from diswot.proxies.base import ProxyInput, Summary
from diswot.proxies.passes import Gradients, record_layers
from diswot.spaces import Arch, Space

GOLDEN = Path(__file__).parents[1] / "golden"
FURTHER = {
    "nasbench201": (
        "|nor_conv_3x3~0|+|nor_conv_1x1~0|none~1|+|skip_connect~0|none~1|none~2|",  # lead nowhere
        "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|",  # gives zeros
    )
}
"""Architectures of a space that no random choice of small ones may miss."""
SMALLER = {
    "nasbench201": ["space.cells=1"],
    "autoformer": ["space.widths=[12,24]", "space.depths=[3]", "data.image_size=48"],
    "timm": ["space.models=[test_resnet,test_byobnet]", "data.image_size=48"],
    "pit": ["space.head_widths=[4,8]", "space.depths=[[1],[1],[1]]", "data.image_size=48"],
}
"""Settings that make the networks of a space small, and images large enough for some patches."""


class Golden:
    """The golden networks and mini-batches in float64, and what is recorded of them."""

    def __init__(self) -> None:
        self.recorded: dict[str, Any] = json.loads((GOLDEN / "proxies.json").read_text())
        with np.load(GOLDEN / "proxies.npz", allow_pickle=False) as arrays:
            self.arrays = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        self.batch = MiniBatch(self.arrays["x"].double(), self.arrays["y"])
        self.other = MiniBatch(self.arrays["x2"].double(), self.arrays["y2"])

    def score(self, net: str, mode: str, entry: str) -> float:
        return float(self.recorded["scores"][net][mode][entry]["f64"])

    def state(self, net: str) -> dict[str, Tensor]:
        prefix = f"net/{net}/"
        return {k.removeprefix(prefix): t for k, t in self.arrays.items() if k.startswith(prefix)}

    def network(self, net: str, mode: str = "train", kind: Any = GoldenNetwork) -> Any:
        """In float64; ``mode`` is train or eval."""
        with torch.random.fork_rng([]):
            steps = self.recorded["architectures"][net]["execution"]
            return kind(steps, self.state(net)).train(mode == "train")

    def inputs(
        self,
        net: str,
        proxy: Proxy,
        mode: str = "train",
        *,
        batch: MiniBatch | None = None,
        teacher: Summary | None = None,
        network: nn.Module | None = None,
    ) -> ProxyInput:
        """What the scorer would show ``proxy``, on the golden mini-batch if no other is given."""
        network, batch = network or self.network(net, mode), batch or self.batch
        shown: dict[str, Any] = {"network": network, "stored": deepcopy(network)}
        if proxy.needs_forward:
            images = batch.images.detach().requires_grad_(proxy.needs_gradients)
            with (
                torch.set_grad_enabled(proxy.needs_gradients),
                proxy.observe(network) as shown["observed"],
                record_layers(network) as calls,
            ):
                outputs = shown["outputs"] = network.outputs(images)
            shown["layers"] = layers = calls if proxy.needs_layers else []
            if proxy.needs_gradients:
                through = MiniBatch(images, batch.labels)
                shown["gradients"] = Gradients(network, through, outputs.logits, layers)
        return _GoldenInput(net, 0, Cost(1, 1, 1), batch, teacher=teacher or {}, **shown)

    def measured(self, net: str, proxy: Proxy, mode: str = "train", **shown: Any) -> float:
        """The only component of a proxy's score."""
        inputs = self.inputs(net, proxy, mode, **shown)
        with torch.set_grad_enabled(proxy.needs_gradients):
            [value] = proxy.measure(inputs).values()
        return value


@dataclass(frozen=True)
class _GoldenInput(ProxyInput):
    """Inputs whose copies have the stored running statistics, as the golden runs had."""

    stored: nn.Module = field(default_factory=nn.Module)

    def copy(self) -> nn.Module:
        return deepcopy(self.stored)


@pytest.fixture(scope="session")
def golden() -> Golden:
    return Golden()


@pytest.fixture(scope="session")
def company_on(small_archs: Callable[[Space, int], list[Arch]]) -> Callable[[str], Company]:
    """All proxies on the two smallest architectures of a space, and those of `FURTHER`."""

    def choose(space: Space) -> list[Arch]:
        return [*small_archs(space, 2), *map(space.parse, FURTHER.get(space.name, ()))]

    @cache
    def build(space: str) -> Company:
        words = [*TINY, f"space={space}", *SMALLER.get(space, ()), "proxy=all"]
        if space in TRANSFORMERS:
            # LayerNorm's forward derivatives would load it while grad is patched.
            import torch._dynamo  # noqa: F401
        config = compose("search", words, None)
        return Company.meet({**config, "device": "cpu", "control": "shuffled"}, choose)

    return build


@pytest.fixture(scope="session", params=members("proxy"))
def proxy_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session", params=members("space"))
def space_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def company(space_name: str, company_on: Callable[[str], Company]) -> Company:
    return company_on(space_name)
