"""The baseline that knows nothing."""

from __future__ import annotations

import torch

from diswot.keys import generator
from diswot.proxies.base import Parts, Proxy, Subject

__all__ = ["Random"]


class Random(Proxy):
    """A uniform number in [0, 1), keyed by seed and architecture."""

    needs_network = False
    needs_forward = False
    baseline = True

    def measure(self, subject: Subject) -> Parts:
        """See `Proxy`."""
        key = generator("random proxy", subject.seed, subject.arch)
        return {"random": torch.rand((), generator=key, dtype=torch.float64).item()}
