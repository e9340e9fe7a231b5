"""Fisher information of channels as a proxy."""

from __future__ import annotations

from typing import Any

from diswot.checks import choice
from diswot.proxies.base import Components, Proxy, ProxyInput
from diswot.proxies.functional.saliency import channel_saliency, exact_sum
from diswot.proxies.passes import Layer

__all__ = ["Fisher"]

_COUNTS = ("weights", "channels")


class Fisher(Proxy):
    """``Σ_l Σ_c n_l · ½ mean_b (Σ_hw a · dL/da)²``, a the layers' outputs, channel by channel.

    Source: Turner et al., "BlockSwap: Fisher-guided Block Substitution for Network Compression on
    a Budget", ICLR 2020; as a proxy Abdelfattah et al., "Zero-Cost Proxies for Lightweight NAS",
    ICLR 2021. The layers are convolutions and linear layers, their outputs those before BatchNorm
    in train mode; L is the mean cross-entropy.
    The code behind the published comparisons spreads a channel's value over all weights that make
    the channel before it adds up: n is their number, inputs of a group × kernel. That is the
    default here; ``channels`` takes n = 1, the formula of the paper.

    Args:
        name: Key of the config.
        count: ``weights`` or ``channels``.

    Raises:
        UserError: An unknown count.
    """

    needs_labels = True
    needs_layers = True
    needs_gradients = True

    def __init__(self, *, name: str, count: str = "weights") -> None:
        super().__init__(name=name)
        self.count = choice(f"proxy.{name}.count", count, _COUNTS)

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`.

        Raises:
            ValueError: The network calls no convolution and no linear layer.
        """
        assert inputs.gradients is not None
        if not inputs.layers:
            raise ValueError("the network calls no convolution and no linear layer")
        values = [
            channel_saliency(layer.output.detach(), gradient).sum() * self._times(layer)
            for layer, gradient in zip(inputs.layers, inputs.gradients.outputs, strict=True)
        ]
        return {"fisher": exact_sum(values)}

    def _times(self, layer: Layer) -> int:
        return layer.module.get_parameter("weight")[0].numel() if self.count == "weights" else 1

    def settings(self) -> dict[str, Any]:
        """How often a channel counts."""
        return {"count": self.count}
