"""The baselines every claim must beat: size alone."""

from __future__ import annotations

from diswot.proxies.base import Parts, Proxy, Subject

__all__ = ["Flops", "Params"]


class Params(Proxy):
    """Number of trainable parameters."""

    needs_forward = False

    def measure(self, subject: Subject) -> Parts:
        """See `Proxy`."""
        return {"params": float(subject.cost.params)}


class Flops(Proxy):
    """Multiply-accumulates of one image."""

    needs_forward = False

    def measure(self, subject: Subject) -> Parts:
        """See `Proxy`."""
        return {"flops": float(subject.cost.flops)}
