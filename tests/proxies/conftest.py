"""Fixtures of the proxy tests: golden networks, and a small set-up of any space and proxy."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from proxy_company import Company, meet
from torch import Tensor
from torch.nn import functional

from diswot.commands import compose
from diswot.config import conf_dir
from diswot.scoring.setup import Setup
from diswot.spaces import Arch, Space

GOLDEN = Path(__file__).parents[1] / "golden"
TINY = ["data=gaussian", "data.batch_size=6", "data.image_size=16", "teacher=resnet8"]
FURTHER = {
    "nasbench201": (
        "|nor_conv_3x3~0|+|nor_conv_1x1~0|none~1|+|skip_connect~0|none~1|none~2|",  # lead nowhere
        "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|",  # gives zeros
    )
}
"""Architectures of a space that no random choice of small ones may miss."""


@dataclass
class Run:
    """What a golden network gave in one forward pass."""

    features: Tensor = field(default_factory=lambda: torch.empty(0))
    embedding: Tensor = field(default_factory=lambda: torch.empty(0))
    logits: Tensor = field(default_factory=lambda: torch.empty(0))
    relu_inputs: list[Tensor] = field(default_factory=list)


class Golden:
    """The golden networks, run operation by operation in float64."""

    def __init__(self) -> None:
        self.told: dict[str, Any] = json.loads((GOLDEN / "proxies.json").read_text())
        with np.load(GOLDEN / "proxies.npz", allow_pickle=False) as arrays:
            self.arrays = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        self.images, self.labels = self.arrays["x"].double(), self.arrays["y"]

    def state(self, net: str) -> dict[str, Tensor]:
        prefix = f"net/{net}/"
        return {
            name.removeprefix(prefix): tensor
            for name, tensor in self.arrays.items()
            if name.startswith(prefix)
        }

    def run(self, net: str, training: bool) -> Run:
        weights = {name: t.double() for name, t in self.state(net).items()}
        registers, run = {"x": self.images}, Run()
        for step in self.told["architectures"][net]["execution"]:
            self._step(step, weights, registers, run, training)
        run.logits = registers["logits"]
        return run

    def _step(
        self,
        step: dict[str, Any],
        weights: dict[str, Tensor],
        registers: dict[str, Tensor],
        run: Run,
        training: bool,
    ) -> None:
        inputs = step["inp"] if isinstance(step["inp"], list) else [step["inp"]]
        x = registers[inputs[0]]
        match step["op"]:
            case "conv2d":
                bias = weights.get(step["bias"])
                sizes = (step["stride"], step["padding"], 1, step["groups"])
                y = functional.conv2d(x, weights[step["weight"]], bias, *sizes)
            case "batchnorm2d":
                named = (f"{step['prefix']}.{k}" for k in ("running_mean", "running_var"))
                mean, var = (weights[name].clone() for name in named)
                affine = (weights[f"{step['prefix']}.{k}"] for k in ("weight", "bias"))
                y = functional.batch_norm(x, mean, var, *affine, training, eps=step["eps"])
            case "relu":
                run.relu_inputs.append(x)
                y = x.relu()
            case "maxpool2d":
                y = functional.max_pool2d(x, step["kernel"], step["stride"])
            case "add":
                y = x + registers[inputs[1]]
            case "global_avg_pool_flatten":
                run.features, run.embedding = x, x.mean((2, 3))
                y = run.embedding
            case "linear":
                y = functional.linear(x, weights[step["weight"]], weights[step["bias"]])
            case "copy":
                y = x
            case "feature":
                return
            case other:
                raise AssertionError(other)
        registers[step["out"]] = y


@pytest.fixture(scope="session")
def golden() -> Golden:
    return Golden()


@pytest.fixture(scope="session")
def setup_of() -> Callable[..., tuple[dict[str, Any], Setup]]:
    """The config and everything a run scores with, on noise of 16 × 16 pixels."""

    @cache
    def build(*overrides: str) -> tuple[dict[str, Any], Setup]:
        config = {**compose("search", [*TINY, *overrides], None), "device": "cpu"}
        return config, Setup.from_config(config)

    return build


@pytest.fixture(scope="session")
def company_on(small_archs: Callable[[Space, int], list[Arch]]) -> Callable[[str], Company]:
    """All proxies on the two smallest architectures of a space, and those of `FURTHER`."""

    def choose(space: Space) -> list[Arch]:
        return [*small_archs(space, 2), *map(space.parse, FURTHER.get(space.name, ()))]

    @cache
    def build(space: str) -> Company:
        config = compose("search", [*TINY, f"space={space}", "proxy=all"], None)
        return meet({**config, "device": "cpu", "control": "shuffled"}, choose)

    return build


def _members(group: str) -> list[str]:
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


@pytest.fixture(scope="session", params=_members("proxy"))
def proxy_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def spaces() -> list[str]:
    return _members("space")


@pytest.fixture(scope="session", params=_members("space"))
def space_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def company(space_name: str, company_on: Callable[[str], Company]) -> Company:
    return company_on(space_name)
