"""A control: the same comparison with a teacher whose samples are out of order."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from diswot.data import MiniBatch
from diswot.keys import generator
from diswot.models.outputs import NetworkOutputs
from diswot.proxies.base import Components, Proxy, ProxyContext, ProxyInput, Summary

__all__ = ["Shuffled"]


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
        """Bind the proxy."""
        return Shuffled(self._proxy.bind(context), self._seed)

    def observe(self, network: nn.Module) -> AbstractContextManager[Any]:
        """As the proxy does."""
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
        """As the proxy does."""
        return self._proxy.measure(inputs)

    def fitness(self, components: Sequence[Components]) -> list[float]:
        """As the proxy does."""
        return self._proxy.fitness(components)

    def settings(self) -> dict[str, Any]:
        """Those of the proxy."""
        return self._proxy.settings()
