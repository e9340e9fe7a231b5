"""The gradient's part along the weights as a proxy."""

from __future__ import annotations

from diswot.proxies.base import Components, Proxy, ProxyInput
from diswot.proxies.functional.saliency import sum_of_products
from diswot.proxies.passes import weights

__all__ = ["Plain"]


class Plain(Proxy):
    """``Σ w · dL/dw``, signed.

    Source: Mozer and Smolensky, "Skeletonization", NeurIPS 1988; as a proxy Abdelfattah et al.,
    "Zero-Cost Proxies for Lightweight NAS", ICLR 2021. Over the weights of convolutions and linear
    layers, in train mode. A convolution before BatchNorm has no part in it, because the loss does
    not change with its scale: what is left of it is rounding, and the classifier is the score.
    """

    needs_labels = True
    needs_gradients = True

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`."""
        assert inputs.network is not None
        assert inputs.gradients is not None
        own, gradients = weights(inputs.network), inputs.gradients.weights
        return {"plain": sum_of_products(own.values(), gradients.values())}
