"""The norm of the weights' gradients as a proxy."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812

from diswot.checks import choice
from diswot.proxies.base import Components, Proxy, ProxyInput
from diswot.proxies.functional.saliency import exact_sum, sum_of_norms

__all__ = ["GradNorm"]

_FORMS = ("layers", "global")


class GradNorm(Proxy):
    """``Σ_l ‖dL/dW_l‖₂`` over convolutions and linear layers.

    Source: Abdelfattah et al., "Zero-Cost Proxies for Lightweight NAS", ICLR 2021. L is the mean
    cross-entropy, in train mode. The form ``global`` is the one that the release of Lin et al.,
    "Zen-NAS", ICCV 2021 compares with: one norm over the gradients of all parameters, biases and
    BatchNorm included.

    Args:
        name: Key of the config.
        form: ``layers`` or ``global``.

    Raises:
        UserError: An unknown form.
    """

    needs_labels = True
    needs_gradients = True

    def __init__(self, *, name: str, form: str = "layers") -> None:
        super().__init__(name=name)
        self.form = choice(f"proxy.{name}.form", form, _FORMS)

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`."""
        assert inputs.gradients is not None
        if self.form == "global":
            return {"grad_norm": _global_norm(inputs)}
        return {"grad_norm": sum_of_norms(inputs.gradients.weights.values())}

    def settings(self) -> dict[str, Any]:
        """Form."""
        return {"form": self.form}


def _global_norm(inputs: ProxyInput) -> float:
    """Runs back once more through the shared pass, because that one stops at the weights."""
    assert inputs.network is not None
    assert inputs.outputs is not None
    parameters = [p for p in inputs.network.parameters() if p.requires_grad]
    logits = inputs.outputs.logits
    exact = logits.to(torch.promote_types(logits.dtype, torch.float32))
    loss = F.cross_entropy(exact, inputs.batch.labels)
    found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return math.sqrt(exact_sum(g.double().square().sum() for g in found if g is not None))
