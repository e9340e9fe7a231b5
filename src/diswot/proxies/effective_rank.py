"""Effective rank of every layer, weighted by its size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from diswot.checks import choice
from diswot.models.outputs import Network
from diswot.proxies.base import Components, Proxy, ProxyInput
from diswot.proxies.functional.effective_rank import centred_gram, log_effective_rank
from diswot.proxies.passes import Layer

__all__ = ["EffectiveRank"]

_FORMS = ("sqrt_log", "sqrt")


class EffectiveRank(Proxy):
    """``Σ √w · ln erank`` (``sqrt_log``) or ``Σ √w · erank`` (``sqrt``) over the layers.

    erank is the exponential of the entropy of the normalised eigenvalues (Roy & Vetterli, EUSIPCO
    2007) of the centred B × B sample-relation matrix ``A Aᵀ`` of a layer's output, w the layer's
    number of parameters. The sum goes over all convolutions and linear layers but the classifier,
    in train mode. A layer that gives the same for all samples adds nothing. Without a teacher and
    without labels; the scale of the weights does not matter where every convolution is followed
    by BatchNorm.

    Args:
        name: Key of the config.
        form: ``sqrt_log`` or ``sqrt``.

    Raises:
        UserError: An unknown form.
    """

    needs_layers = True

    def __init__(self, *, name: str, form: str = "sqrt_log") -> None:
        super().__init__(name=name)
        self.form = choice(f"proxy.{name}.form", form, _FORMS)

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`.

        Raises:
            ValueError: No layer tells the samples apart.
        """
        classifier = cast(Network, inputs.network).classifier
        layers = [layer for layer in inputs.layers if layer.module is not classifier]
        if not layers:
            raise ValueError("the network calls no convolution and no linear layer")
        logs = inputs.shared.get("effective ranks", lambda: _logarithms(layers))
        ranks = logs if self.form == "sqrt_log" else logs.exp()
        sizes = [sum(p.numel() for p in layer.module.parameters()) for layer in layers]
        weights = torch.tensor(sizes, dtype=torch.float64, device=ranks.device).sqrt()
        if bool(ranks.isnan().all()):
            raise ValueError("every layer gives the same for all samples")
        return {self.name: (weights * ranks.nan_to_num(nan=0.0)).sum().item()}

    def settings(self) -> dict[str, Any]:
        """The form."""
        return {"form": self.form}


def _logarithms(layers: Sequence[Layer]) -> Tensor:
    return log_effective_rank(torch.stack([centred_gram(layer.output) for layer in layers]))
