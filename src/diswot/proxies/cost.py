"""The baselines every claim must beat: size alone."""

from __future__ import annotations

import math

from diswot.proxies.base import Components, Proxy, ProxyInput
from diswot.proxies.passes import weighted

__all__ = ["Flops", "Layers", "Params", "SqrtParams"]


class Params(Proxy):
    """Number of trainable parameters."""

    needs_network = False
    needs_forward = False
    baseline = True

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`."""
        return {"params": float(inputs.cost.params)}


class Flops(Proxy):
    """Multiply-accumulates of one image."""

    needs_network = False
    needs_forward = False
    baseline = True

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`."""
        return {"flops": float(inputs.cost.flops)}


class Layers(Proxy):
    """Number of convolutions and linear layers, projection shortcuts not counted."""

    needs_network = False
    needs_forward = False
    baseline = True

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`."""
        return {"layers": float(inputs.cost.layers)}


class SqrtParams(Proxy):
    """``Σ_l √P_l``, P_l the parameters of a convolution or linear layer, its bias included.

    About what the sum of the layers' weight norms is at any initialisation of one variance:
    depth counts, and more than in the plain number of parameters.
    """

    needs_forward = False
    baseline = True

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`."""
        assert inputs.network is not None
        layers = weighted(inputs.network).values()
        sizes = (sum(p.numel() for p in layer.parameters(recurse=False)) for layer in layers)
        return {"sqrt_params": math.fsum(map(math.sqrt, sizes))}
