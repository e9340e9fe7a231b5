"""The norm of the weights as a proxy."""

from __future__ import annotations

from diswot.proxies.base import Components, Proxy, ProxyInput
from diswot.proxies.functional.saliency import sum_of_norms
from diswot.proxies.passes import weights

__all__ = ["L2Norm"]


class L2Norm(Proxy):
    """``Σ_l ‖W_l‖₂`` over convolutions and linear layers: sizes, and how they are initialised.

    Source: Abdelfattah et al., "Zero-Cost Proxies for Lightweight NAS", ICLR 2021. It looks at no
    image.
    """

    needs_forward = False
    baseline = True

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`."""
        assert inputs.network is not None
        own = [weight.detach() for weight in weights(inputs.network).values()]
        return {"l2_norm": sum_of_norms(own)}
