"""Baselines that look at the outputs of one forward pass, and at nothing in particular there."""

from __future__ import annotations

from diswot.proxies.base import Components, Proxy, ProxyInput

__all__ = ["FeatureNorm", "LogitSpread"]


class FeatureNorm(Proxy):
    """``mean_b ‖p_b‖₂`` of the pooled embedding p, ``(B, C)``."""

    outputs_only = True
    baseline = True

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`."""
        assert inputs.outputs is not None
        embedding = inputs.outputs.embedding.double()
        return {"feature_norm": embedding.norm(dim=1).mean().item()}


class LogitSpread(Proxy):
    """Mean over images of the standard deviation of the logits over classes, the population's."""

    outputs_only = True
    baseline = True

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`."""
        assert inputs.outputs is not None
        logits = inputs.outputs.logits.double()
        return {"logit_spread": logits.std(dim=1, correction=0).mean().item()}
