"""ZiCo as a proxy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from diswot.checks import whole
from diswot.data import MiniBatch
from diswot.errors import UserError
from diswot.proxies.base import Components, Proxy, ProxyInput
from diswot.proxies.functional.zico import inverse_variation
from diswot.proxies.passes import weights

__all__ = ["ZiCo"]


class ZiCo(Proxy):
    """``Σ_layers ln Σ_w mean_i |g_wi| / std_i g_wi`` over batches i of the mini-batch.

    Source: Li et al., "ZiCo: Zero-shot NAS via Inverse Coefficient of Variation on Gradients",
    ICLR 2023. g is the gradient of the mean cross-entropy of one batch, in train mode, summed
    are the weights of convolutions and linear layers; weights whose gradient is the same for
    all batches, and layers without any other, are left out. Every batch has gradients of its
    own: in the released code they can share memory, and then all batches are alike.

    With two batches the standard deviation is half a difference: float32 is good for three
    digits only.

    Args:
        name: Key of the config.
        batches: Equal parts the mini-batch is split into, in order; images left over are not
            used. Published with 2.

    Raises:
        UserError: ``batches`` is no whole number of at least 2.
    """

    needs_labels = True
    needs_forward = False
    needs_gradients = True

    def __init__(self, *, name: str, batches: int = 2) -> None:
        super().__init__(name=name)
        self.batches = whole(f"proxy.{name}.batches", batches, 2)

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`.

        Raises:
            UserError: The mini-batch has fewer images than it is to be split into batches.
            ValueError: No layer has a gradient that changes with the batch.
        """
        network = inputs.copy()
        found = [_gradients(network, part) for part in self._split(inputs.batch)]
        layers = (
            inverse_variation(torch.stack([g.flatten() for g in per_batch if g is not None]))
            for per_batch in zip(*found, strict=True)
            if per_batch[0] is not None
        )
        kept = [total.log() for total in layers if total > 0]
        if not kept:
            raise ValueError("no layer has a gradient that changes with the batch")
        return {"zico": torch.stack(kept).sum().item()}

    def _split(self, batch: MiniBatch) -> Iterator[MiniBatch]:
        size = len(batch.images) // self.batches
        if not size:
            raise UserError(
                f"proxy.{self.name}.batches={self.batches}: a mini-batch of {len(batch.images)} "
                f"images has no {self.batches} parts; lower it or raise data.batch_size"
            )
        for start in range(0, size * self.batches, size):
            part = slice(start, start + size)
            yield MiniBatch(batch.images[part], batch.labels[part])

    def settings(self) -> dict[str, Any]:
        """Number of batches."""
        return {"batches": self.batches}


def _gradients(network: nn.Module, batch: MiniBatch) -> tuple[Tensor | None, ...]:
    """Of the loss with respect to each layer's weight; None where it is not reached."""
    with torch.enable_grad():
        loss = functional.cross_entropy(network(batch.images), batch.labels)
        layers = list(weights(network).values())
        return torch.autograd.grad(loss, layers, allow_unused=True)
