"""SNIP as a proxy."""

from __future__ import annotations

from diswot.proxies.base import Components, Proxy, ProxyInput
from diswot.proxies.functional.saliency import sum_of_products
from diswot.proxies.passes import weights

__all__ = ["Snip"]


class Snip(Proxy):
    """``Σ |w · dL/dw|``: how much the loss depends on the connections.

    Source: Lee et al., "SNIP: Single-shot Network Pruning based on Connection Sensitivity", ICLR
    2019; as a proxy Abdelfattah et al., "Zero-Cost Proxies for Lightweight NAS", ICLR 2021. Over
    the weights of convolutions and linear layers, no biases and no BatchNorm; L is the mean
    cross-entropy of the whole mini-batch, in train mode (released code that splits the batch adds
    up the means of its chunks, so the score grows with their number).
    """

    needs_labels = True
    needs_gradients = True

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`."""
        assert inputs.network is not None
        assert inputs.gradients is not None
        own, gradients = weights(inputs.network), inputs.gradients.weights
        return {"snip": sum_of_products(own.values(), gradients.values(), absolute=True)}
