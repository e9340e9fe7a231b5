"""What every claim must beat: size alone, a random number, and a control of each comparison."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import fields, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from diswot.data import MiniBatch
from diswot.keys import generator
from diswot.models.outputs import Network, NetworkOutputs
from diswot.proxies.base import Components, Proxy, ProxyContext, ProxyInput, Summary
from diswot.proxies.functional import sqrt_params


class _WithoutNetwork(Proxy):
    needs_network = False
    needs_forward = False
    baseline = True


class _OfCost(_WithoutNetwork):
    count: str

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`."""
        return {self.count: float(getattr(inputs.cost, self.count))}


class Params(_OfCost):
    """Number of trainable parameters."""

    count = "params"


class Flops(_OfCost):
    """Multiply-accumulates of one image."""

    count = "flops"


class Layers(_OfCost):
    """Number of convolutions and linear layers, projection shortcuts not counted."""

    count = "layers"


class SqrtParams(Proxy):
    """``Σ_l √P_l``, P_l the parameters of a convolution or linear layer, its bias included.

    About the sum of the layers' weight norms at any initialisation of one variance.
    """

    needs_forward = False
    baseline = True

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`."""
        return {"sqrt_params": sqrt_params(inputs.network)}


class EmbeddingWidth(Proxy):
    """Width C of the embedding, the classifier's input."""

    needs_forward = False
    baseline = True

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`."""
        return {"embedding_width": float(cast(Network, inputs.network).classifier.in_features)}


class Random(_WithoutNetwork):
    """A uniform number in [0, 1), keyed by seed and architecture."""

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`."""
        key = generator("random proxy", inputs.seed, inputs.arch)
        return {"random": torch.rand((), generator=key, dtype=torch.float64).item()}


class Shuffled(Proxy):
    """A teacher-aware proxy that is shown the teacher's outputs for other samples.

    What the teacher knows of a sample cannot help then: a proxy that predicts no better than this
    control takes nothing from the teacher but statistics of its outputs as a whole. ``seed`` keys
    the order. Where a proxy adds over samples before it compares, as the cam form of `Semantic`
    does, the control is the proxy itself, up to rounding, and tests nothing.
    """

    def __init__(self, proxy: Proxy, seed: int) -> None:
        super().__init__(name=f"{proxy.name}@shuffled")
        self._proxy = proxy
        self._seed = seed
        for flag in Proxy.__annotations__:
            setattr(self, flag, getattr(proxy, flag))

    @property
    def of(self) -> str:
        """Name of the proxy it is the control of."""
        return self._proxy.name

    def bind(self, context: ProxyContext) -> Shuffled:
        """See `Proxy`."""
        return Shuffled(self._proxy.bind(context), self._seed)

    def observe(self, network: nn.Module) -> AbstractContextManager[Any]:
        """See `Proxy`."""
        return self._proxy.observe(network)

    def summarize(self, outputs: NetworkOutputs, batch: MiniBatch, network: nn.Module) -> Summary:
        """The proxy's summary of the teacher's outputs, their samples exchanged."""
        # A single cycle through all samples: none keeps its place.
        key = generator("shuffled control", self._seed)
        cycle = torch.randperm(len(batch.labels), generator=key)
        order = torch.empty_like(cycle)
        order[cycle] = cycle.roll(1)
        order = order.to(batch.labels.device)

        def exchanged(value: Any) -> Any:
            return value[order] if isinstance(value, Tensor) else tuple(t[order] for t in value)

        shuffled = {f.name: exchanged(getattr(outputs, f.name)) for f in fields(outputs)}
        return self._proxy.summarize(replace(outputs, **shuffled), batch, network)

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`."""
        return self._proxy.measure(inputs)

    def fitness(self, components: Sequence[Components]) -> list[float]:
        """See `Proxy`."""
        return self._proxy.fitness(components)

    def settings(self) -> dict[str, Any]:
        """See `Proxy`."""
        return self._proxy.settings()
