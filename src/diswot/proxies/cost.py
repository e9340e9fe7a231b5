"""Baselines that every claim must beat: size alone, and a random number."""

from __future__ import annotations

import torch

from diswot.keys import generator
from diswot.proxies.base import Components, Proxy, ProxyInput
from diswot.proxies.functional import sqrt_params

__all__ = ["Flops", "Layers", "Params", "Random", "SqrtParams"]


class _WithoutNetwork(Proxy):
    needs_network = False
    needs_forward = False
    baseline = True


class Params(_WithoutNetwork):
    """Number of trainable parameters."""

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`."""
        return {"params": float(inputs.cost.params)}


class Flops(_WithoutNetwork):
    """Multiply-accumulates of one image."""

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`."""
        return {"flops": float(inputs.cost.flops)}


class Layers(_WithoutNetwork):
    """Number of convolutions and linear layers, projection shortcuts not counted."""

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`."""
        return {"layers": float(inputs.cost.layers)}


class SqrtParams(Proxy):
    """``Σ_l √P_l``, P_l the parameters of a convolution or linear layer, its bias included.

    About the sum of the layers' weight norms at any initialisation of one variance.
    """

    needs_forward = False
    baseline = True

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`."""
        return {"sqrt_params": sqrt_params(inputs.network)}


class Random(_WithoutNetwork):
    """A uniform number in [0, 1), keyed by seed and architecture."""

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`."""
        key = generator("random proxy", inputs.seed, inputs.arch)
        return {"random": torch.rand((), generator=key, dtype=torch.float64).item()}
