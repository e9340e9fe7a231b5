"""Synaptic flow as a proxy."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from diswot.checks import flag
from diswot.proxies.base import Components, Proxy, ProxyInput
from diswot.proxies.passes import weights

__all__ = ["Synflow"]


class Synflow(Proxy):
    """``Σ_w |w · dR/dw|``, R the sum of the logits of one image of ones, or a logarithmic form.

    Source: Tanaka et al., "Pruning neural networks without any data by iteratively conserving
    synaptic flow", NeurIPS 2020, as run for architectures by Abdelfattah et al., "Zero-Cost
    Proxies for Lightweight NAS", ICLR 2021. All parameters and statistics are replaced by their
    absolute values and the pass runs in float64: scores grow with depth as a product of widths.
    Summed are the weights of convolutions and linear layers; biases take part in the pass alone.
    The image has the mini-batch's channels and size, and nothing else of the mini-batch is read.

    Args:
        name: Key of the config.
        log: Take ``Σ_w |w · ln(1 + dR/dw)|`` instead, Cavagnero et al., "FreeREA: Training-Free
            Evolution-based Architecture Search", WACV 2023.
        batch_norm: Keep BatchNorm; otherwise it is the identity. In train mode its statistics
            are then those of one image, so that hardly more than its last layers counts.

    Raises:
        UserError: A setting that is neither true nor false.
    """

    needs_forward = False
    needs_gradients = True

    def __init__(self, *, name: str, log: bool = False, batch_norm: bool = False) -> None:
        super().__init__(name=name)
        self.log = flag(f"proxy.{name}.log", log)
        self.batch_norm = flag(f"proxy.{name}.batch_norm", batch_norm)

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`."""
        network = _positive(inputs.copy(), self.batch_norm)
        image = torch.ones_like(inputs.batch.images[:1], dtype=torch.float64)
        layers = list(weights(network).values())
        with torch.enable_grad():
            flow = network(image).sum()
            found = torch.autograd.grad(flow, layers, allow_unused=True)
        pairs = zip(layers, found, strict=True)
        total = sum(self._saliency(w.detach(), g) for w, g in pairs if g is not None)
        return {"log_synflow" if self.log else "synflow": float(total)}

    def _saliency(self, weight: Tensor, gradient: Tensor) -> float:
        gradient = gradient.log1p() if self.log else gradient
        return (weight * gradient).abs().sum().item()

    def settings(self) -> dict[str, Any]:
        """Logarithm and BatchNorm."""
        return {"log": self.log, "batch_norm": self.batch_norm}


def _positive(network: nn.Module, batch_norm: bool) -> nn.Module:
    """Make every parameter and buffer positive and double, without BatchNorm if not asked for."""
    network.double()
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.abs_()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and not batch_norm:
            module.forward = _same  # type: ignore[method-assign, assignment]
    return network


def _same(tensor: Tensor) -> Tensor:
    return tensor
