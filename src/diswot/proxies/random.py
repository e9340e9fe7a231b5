"""The baseline that knows nothing."""

from __future__ import annotations

import torch

from diswot.keys import generator
from diswot.proxies.base import Components, Proxy, ProxyInput

__all__ = ["Random"]


class Random(Proxy):
    """A uniform number in [0, 1), keyed by seed and architecture."""

    needs_network = False
    needs_forward = False
    baseline = True

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`."""
        key = generator("random proxy", inputs.seed, inputs.arch)
        return {"random": torch.rand((), generator=key, dtype=torch.float64).item()}
