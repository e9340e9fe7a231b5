"""The golden networks as modules, and as subjects of a proxy."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from diswot.data import MiniBatch
from diswot.models.cost import Cost, count_flops, count_layers, count_params
from diswot.models.outputs import NetworkOutputs
from diswot.proxies import Proxy
from diswot.proxies.base import ProxyInput, Summary
from diswot.proxies.passes import Gradients, record_layers

__all__ = ["GoldenNetwork", "golden_network", "golden_subject"]


class GoldenNetwork(nn.Module):
    """Runs a stored list of operations; keeps `diswot.models.Network`.

    Weights have the stored names, ReLUs and pools are ``relus.N`` and ``pools.N``. Modules are
    looked up by path at every call, so that they can be replaced.
    """

    def __init__(self, steps: list[dict[str, Any]], state: dict[str, Tensor]) -> None:
        super().__init__()
        self.steps: list[tuple[str, list[str], str, str]] = []
        counts = {"relus": 0, "pools": 0}
        for step in steps:
            inputs = step["inp"] if isinstance(step["inp"], list) else [step["inp"]]
            kind = {"relu": "relus", "maxpool2d": "pools"}.get(step["op"])
            path = f"{kind}.{counts[kind]}" if kind else _path(step)
            if kind:
                counts[kind] += 1
            if path:
                self._put(path, _module(step, state))
            out = step["name"] if step["op"] == "feature" else step["out"]
            self.steps.append((step["op"], inputs, out, path))
        self.load_state_dict(state)

    def _put(self, path: str, module: nn.Module) -> None:
        *parents, last = path.split(".")
        holder: nn.Module = self
        for name in parents:
            if name not in dict(holder.named_children()):
                holder.add_module(name, nn.Module())
            holder = holder.get_submodule(name)
        holder.add_module(last, module)

    @property
    def classifier(self) -> nn.Linear:
        layer = self.get_submodule("fc")
        assert isinstance(layer, nn.Linear)
        return layer

    def outputs(self, images: Tensor) -> NetworkOutputs:
        registers, before = {"x": images}, images
        stages: list[Tensor] = []
        preactivations: list[Tensor] = []
        for op, inputs, out, path in self.steps:
            x = registers[inputs[0]]
            if op == "feature":
                if out.startswith(("stage", "unit")):
                    stages.append(x)
                    preactivations.append(before)
                continue
            match op:
                case "add":
                    y = x + registers[inputs[1]]
                case "copy":
                    y = x
                case "global_avg_pool_flatten":
                    y = x.mean((2, 3))
                case _:
                    y = self.get_submodule(path)(x)
            before = x if op == "relu" else y
            registers[out] = y
        return NetworkOutputs(
            tuple(stages), tuple(preactivations), registers["p"], registers["logits"]
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.outputs(images).logits


def _path(step: dict[str, Any]) -> str:
    named = step.get("prefix") or step.get("weight") or ""
    return str(named).removesuffix(".weight")


def _module(step: dict[str, Any], state: dict[str, Tensor]) -> nn.Module:
    match step["op"]:
        case "conv2d":
            width, depth, *kernel = state[step["weight"]].shape
            groups, bias = step["groups"], step["bias"] is not None
            strides = step["stride"], step["padding"]
            return nn.Conv2d(
                depth * groups, width, (kernel[0], kernel[1]), *strides, groups=groups, bias=bias
            )
        case "batchnorm2d":
            width = len(state[f"{step['prefix']}.weight"])
            return nn.BatchNorm2d(width, eps=step["eps"], momentum=step["momentum"])
        case "linear":
            classes, width = state[step["weight"]].shape
            return nn.Linear(width, classes, bias=step["bias"] is not None)
        case "maxpool2d":
            return nn.MaxPool2d(step["kernel"], step["stride"])
        case "relu":
            return nn.ReLU()
        case other:
            raise AssertionError(other)


def golden_network(golden: Any, net: str, mode: str = "train") -> GoldenNetwork:
    """The network ``net`` with its stored state, in float64; ``mode`` is train or eval."""
    steps = golden.told["architectures"][net]["execution"]
    with torch.random.fork_rng([]):
        network = GoldenNetwork(steps, golden.state(net))
    return network.double().train(mode == "train")


@dataclass(frozen=True)
class _GoldenSubject(ProxyInput):
    """A inputs whose copies have the stored running statistics, as the golden runs had."""

    stored: nn.Module = field(default_factory=nn.Module)

    def copy(self) -> nn.Module:
        assert self.network is not None
        return deepcopy(self.stored)


def golden_subject(
    golden: Any,
    net: str,
    mode: str,
    proxy: Proxy,
    *,
    batch: MiniBatch | None = None,
    teacher: Summary | None = None,
    network: nn.Module | None = None,
) -> ProxyInput:
    """What the scorer would show ``proxy``, on the golden mini-batch if no other is given.

    Args:
        golden: The fixture.
        net: Name of the network.
        mode: train or eval.
        proxy: Says what it needs.
        batch: Another mini-batch.
        teacher: The proxy's summary of a teacher.
        network: Shown instead of the stored one.
    """
    network = network or golden_network(golden, net, mode)
    stored = deepcopy(network)
    batch = batch or MiniBatch(golden.images, golden.labels)
    _, channels, height, width = batch.images.shape
    image = channels, height, width
    cost = Cost(
        count_params(network), count_flops(deepcopy(stored).float(), image), count_layers(network)
    )
    parts: dict[str, Any] = {}
    if proxy.needs_forward and proxy.needs_network:
        parts = _run(network, batch, proxy)
    shown = network if proxy.needs_network else None
    return _GoldenSubject(net, 0, cost, batch, shown, teacher=teacher or {}, stored=stored, **parts)


def _run(network: Any, batch: MiniBatch, proxy: Proxy) -> dict[str, Any]:
    images = batch.images.detach().requires_grad_(proxy.needs_gradients)
    with (
        torch.set_grad_enabled(proxy.needs_gradients),
        proxy.observe(network) as observed,
        record_layers(network) as layers,
    ):
        outputs = network.outputs(images)
    recorded = layers if proxy.needs_layers else []
    parts = {"outputs": outputs, "observed": observed, "layers": recorded}
    if proxy.needs_gradients:
        through = MiniBatch(images, batch.labels)
        parts["gradients"] = Gradients(network, through, outputs.logits, recorded)
    return parts
