"""GraSP as a proxy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from diswot.checks import choice, positive
from diswot.proxies.base import Components, Proxy, ProxyInput
from diswot.proxies.functional.saliency import sum_of_products
from diswot.proxies.passes import weights

__all__ = ["Grasp"]

_SIGNS = {"minus": -1, "plus": 1}


class Grasp(Proxy):
    """``−Σ w · (H g)``: how the gradient's norm would change without the connections.

    Source: Wang et al., "Picking Winning Tickets Before Training by Preserving Gradient Flow",
    ICLR 2020; as a proxy Abdelfattah et al., "Zero-Cost Proxies for Lightweight NAS", ICLR 2021.
    g and H are gradient and Hessian of the mean cross-entropy by the weights of convolutions and
    linear layers, in train mode. The pruner drops the connections where ``−w · (H g)`` is largest
    and would keep those where it is smallest; the published comparisons nevertheless take the
    larger sum as the better network. That is the default here, and ``plus`` follows the pruner.

    Args:
        name: Key of the config.
        sign: ``minus`` or ``plus``.
        temperature: Divides the logits; 1 as a proxy, 200 as a pruner.

    Raises:
        UserError: An unknown sign, or a temperature that is not positive.
    """

    needs_labels = True
    needs_forward = False
    needs_gradients = True

    def __init__(self, *, name: str, sign: str = "minus", temperature: float = 1.0) -> None:
        super().__init__(name=name)
        self.sign = choice(f"proxy.{name}.sign", sign, _SIGNS)
        self.temperature = positive(f"proxy.{name}.temperature", temperature)

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`."""
        # The second derivative of BatchNorm is a third faster here than in channels_last.
        network = inputs.copy().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        images = inputs.batch.images.contiguous()
        with torch.enable_grad():
            loss = F.cross_entropy(network(images) / self.temperature, inputs.batch.labels)
            own = list(weights(network).values())
            products = _hessian_times_gradient(loss, own)
        value = sum_of_products((w.detach() for w in own), products)
        return {"grasp": _SIGNS[self.sign] * value}

    def settings(self) -> dict[str, Any]:
        """Sign and temperature."""
        return {"sign": self.sign, "temperature": self.temperature}


def _hessian_times_gradient(loss: Tensor, tensors: Sequence[Tensor]) -> list[Tensor]:
    """``H g`` by differentiating ``g · g'`` with g held fixed; zeros where nothing is reached."""
    first = torch.autograd.grad(loss, tensors, create_graph=True, allow_unused=True)
    reached = [gradient for gradient in first if gradient is not None]
    product = torch.stack([(g.detach() * g).sum() for g in reached]).sum()
    second = torch.autograd.grad(product, tensors, allow_unused=True)
    return [
        torch.zeros_like(tensor) if gradient is None else gradient
        for tensor, gradient in zip(tensors, second, strict=True)
    ]
