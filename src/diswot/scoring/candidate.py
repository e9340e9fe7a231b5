"""One candidate's network and the passes through it that its proxies share."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from diswot.data import MiniBatch
from diswot.models.outputs import NetworkOutputs
from diswot.proxies.base import ProxyInput
from diswot.proxies.passes import Gradients, Layer, Shared, record_layers

if TYPE_CHECKING:
    from diswot.models.cost import Cost
    from diswot.models.outputs import Network
    from diswot.proxies.base import Proxy, Summary
    from diswot.scoring.runtime import Runtime

__all__ = ["Candidate", "Forward", "forward"]


@dataclass(frozen=True)
class Forward:
    """What one forward pass gave.

    Attributes:
        outputs: Maps, embedding, logits.
        observed: What each proxy's `Proxy.observe` gave, by name.
        layers: Calls of convolutions and linear layers, where a proxy reads them.
        gradients: Through this pass, where a proxy reads them.
        shared: Keeps what several proxies compute alike.
    """

    outputs: NetworkOutputs
    observed: Mapping[str, Any]
    layers: Sequence[Layer] = ()
    gradients: Gradients | None = None
    shared: Shared = field(default_factory=Shared)


def forward(
    network: nn.Module,
    proxies: Mapping[str, Proxy],
    batch: MiniBatch,
    runtime: Runtime,
    known: Sequence[Tensor] = (),
) -> Forward:
    """One forward pass in train mode, watched by the proxies.

    Args:
        network: On the runtime's device.
        proxies: Those that look at this pass; only where one needs it is a graph recorded.
        batch: On the runtime's device.
        runtime: Precision.
        known: Maps of the first stages, see `diswot.models.staged.StagedNetwork.outputs`.
    """
    network.train()
    graph = any(proxy.needs_gradients for proxy in proxies.values())
    images = batch.images.detach().requires_grad_(graph)
    with ExitStack() as stack:
        stack.enter_context(torch.set_grad_enabled(graph))
        layers: Sequence[Layer] = ()
        if any(proxy.needs_layers for proxy in proxies.values()):
            layers = stack.enter_context(record_layers(network))
        observed = {
            name: stack.enter_context(proxy.observe(network)) for name, proxy in proxies.items()
        }
        with runtime.autocast():
            further = {"known": known} if known else {}
            outputs = cast("Network", network).outputs(images, **further)
    through = MiniBatch(images, batch.labels)
    logits = outputs.logits if runtime.precision == "32-true" else outputs.logits.float()
    shared = Shared()
    gradients = Gradients(network, through, logits, layers, shared) if graph else None
    return Forward(outputs, observed, layers, gradients, shared)


class Candidate:
    """Shows each proxy what it asks for, and counts the seconds it asks for.

    Args:
        arch: Text form.
        cost: Parameters, MACs and layers.
        seed: Seed of the run.
        batch: On the network's device.
        teacher: Each teacher-aware proxy's summary, by name, on the network's device.
        network: None where no proxy needs it.
        run: Its forward pass; None where no proxy needs it.
        seconds: What building the network and what the forward pass took.
    """

    def __init__(
        self,
        arch: str,
        cost: Cost,
        *,
        seed: int,
        batch: MiniBatch,
        teacher: Mapping[str, Summary],
        network: nn.Module | None = None,
        run: Forward | None = None,
        seconds: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        self._whole = ProxyInput(arch=arch, seed=seed, cost=cost, batch=batch, network=network)
        self._teacher = teacher
        self._run = run
        self._built, self._ran = seconds

    def inputs(self, name: str, proxy: Proxy) -> ProxyInput:
        """What the proxy called ``name`` sees."""
        whole, run = self._whole, self._run
        seen: dict[str, Any] = {"teacher": self._teacher.get(name, {})}
        if proxy.needs_forward and run is not None:
            attached = proxy.needs_gradients
            seen["outputs"] = run.outputs if attached else _detached(run.outputs)
            seen["observed"] = run.observed[name]
            seen["shared"] = run.shared
            if proxy.needs_layers:
                seen["layers"] = run.layers if attached else [_cut(call) for call in run.layers]
            if attached:
                seen["gradients"] = run.gradients
        if proxy.needs_network:
            seen["network"] = whole.network
        return ProxyInput(whole.arch, whole.seed, whole.cost, whole.batch, **seen)

    def measure(self, name: str, proxy: Proxy) -> tuple[dict[str, float], float]:
        """A proxy's parts, and the seconds it would take without the others.

        These are its own work and the passes it shares, each counted in full.
        """
        shared = self._run.shared if self._run else Shared()
        shared.restart()
        started = time.perf_counter()
        with torch.set_grad_enabled(proxy.needs_gradients):
            parts = proxy.measure(self.inputs(name, proxy))
        seconds = time.perf_counter() - started + shared.reused_seconds
        seconds += self._built * proxy.needs_network + self._ran * proxy.needs_forward
        return parts, seconds


def _detached(outputs: NetworkOutputs) -> NetworkOutputs:
    def cut(value: Any) -> Any:
        return value.detach() if isinstance(value, Tensor) else tuple(t.detach() for t in value)

    return NetworkOutputs(**{f.name: cut(getattr(outputs, f.name)) for f in fields(outputs)})


def _cut(call: Layer) -> Layer:
    return Layer(call.name, call.module, call.output.detach())
