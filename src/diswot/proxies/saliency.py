"""Proxies of the saliency of weights and channels, most of them measures of pruning.

As proxies all are from Abdelfattah et al., "Zero-Cost Proxies for Lightweight NAS", ICLR 2021.
Weights w are those of convolutions and linear layers, without biases and BatchNorm; L is the mean
cross-entropy of the whole mini-batch, in train mode.
"""

import torch
from torch import nn
from torch.nn import functional as F

from diswot.checks import choice, flag, positive
from diswot.proxies import functional
from diswot.proxies.base import Components, Proxy, ProxyInput
from diswot.proxies.passes import weights


class _OfLoss(Proxy):
    needs_labels = True
    needs_gradients = True


class L2Norm(Proxy):
    """``Σ_l ‖W_l‖₂`` over convolutions and linear layers: sizes, and how they are initialised."""

    needs_forward = False
    baseline = True

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`."""
        return {"l2_norm": functional.l2_norm(w.detach() for w in weights(inputs.network).values())}


class GradNorm(_OfLoss):
    """``Σ_l ‖dL/dW_l‖₂`` over convolutions and linear layers (``layers``), or ``global``.

    The form ``global`` is the one that the release of Lin et al., "Zen-NAS", ICCV 2021 compares
    with: one norm over the gradients of all parameters, biases and BatchNorm included.
    """

    reported = ("form",)

    def __init__(self, *, name: str, form: str = "layers") -> None:
        super().__init__(name=name)
        self.form = choice(f"proxy.{name}.form", form, ("layers", "global"))

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`."""
        if self.form == "layers":
            return {"grad_norm": functional.grad_norm(inputs.gradients.weights.values())}
        # Once more back through the shared pass, because `Gradients` stops at the weights.
        parameters = [p for p in inputs.network.parameters() if p.requires_grad]
        logits = inputs.outputs.logits
        exact = logits.to(torch.promote_types(logits.dtype, torch.float32))
        loss = F.cross_entropy(exact, inputs.batch.labels)
        gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        reached = [gradient for gradient in gradients if gradient is not None]
        return {"grad_norm": functional.grad_norm(reached, form="global")}


class Plain(_OfLoss):
    """``Σ w · dL/dw``, signed.

    Source: Mozer and Smolensky, "Skeletonization", NeurIPS 1988. A convolution before BatchNorm has
    no part in it, because the loss does not change with its scale: what is left of it is rounding,
    and the classifier is the score.
    """

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`."""
        own, gradients = weights(inputs.network), inputs.gradients.weights
        return {"plain": functional.plain(own.values(), gradients.values())}


class Snip(_OfLoss):
    """``Σ |w · dL/dw|``: how much the loss depends on the connections.

    Source: Lee et al., "SNIP: Single-shot Network Pruning based on Connection Sensitivity", ICLR
    2019. Released code that splits the batch adds up the means of its chunks, so that its score
    grows with their number.
    """

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`."""
        own, gradients = weights(inputs.network), inputs.gradients.weights
        return {"snip": functional.snip(own.values(), gradients.values())}


class Fisher(_OfLoss):
    """``Σ_l Σ_c n_l · ½ mean_b (Σ_hw a · dL/da)²``, a the layers' outputs, channel by channel.

    Source: Turner et al., "BlockSwap: Fisher-guided Block Substitution for Network Compression on a
    Budget", ICLR 2020. Outputs are those before BatchNorm. The code behind the published
    comparisons spreads a channel's value over all weights that make the channel before it adds up:
    n is their number, inputs of a group × kernel. That is the default, ``count=weights``;
    ``channels`` takes n = 1, the formula of the paper.
    """

    needs_layers = True
    reported = ("count",)

    def __init__(self, *, name: str, count: str = "weights") -> None:
        super().__init__(name=name)
        self.count = choice(f"proxy.{name}.count", count, ("weights", "channels"))

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`; fails without convolutions and linear layers."""
        if not inputs.layers:
            raise ValueError("the network calls no convolution and no linear layer")
        values = []
        for layer, gradient in zip(inputs.layers, inputs.gradients.outputs, strict=True):
            weights_of_channel = layer.module.get_parameter("weight")[0].numel()
            times = weights_of_channel if self.count == "weights" else 1
            values.append(functional.fisher(layer.output.detach(), gradient).sum() * times)
        return {"fisher": functional.exact_sum(values)}


class Grasp(_OfLoss):
    """``−Σ w · (H g)``: how the gradient's norm would change without the connections.

    Source: Wang et al., "Picking Winning Tickets Before Training by Preserving Gradient Flow", ICLR
    2020. g and H are gradient and Hessian of L by the weights. The pruner drops the connections
    where ``−w · (H g)`` is largest and would keep those where it is smallest; the published
    comparisons nevertheless take the larger sum as the better network. That is the default,
    ``sign=minus``; ``plus`` follows the pruner. ``temperature`` divides the logits: 1 as a proxy,
    200 as a pruner.
    """

    needs_forward = False
    reported = ("sign", "temperature")

    def __init__(self, *, name: str, sign: str = "minus", temperature: float = 1.0) -> None:
        super().__init__(name=name)
        self.sign = choice(f"proxy.{name}.sign", sign, ("minus", "plus"))
        self.temperature = positive(f"proxy.{name}.temperature", temperature)

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`."""
        # The second derivative of BatchNorm is a third faster here than in channels_last.
        network = inputs.copy().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        images = inputs.batch.images.contiguous()
        with torch.enable_grad():
            loss = F.cross_entropy(network(images) / self.temperature, inputs.batch.labels)
            value = functional.grasp(loss, list(weights(network).values()))
        return {"grasp": value if self.sign == "minus" else -value}


class Synflow(Proxy):
    """``Σ_w |w · dR/dw|``, R the sum of the logits of one image of ones, see `functional.synflow`.

    As run for architectures by Abdelfattah et al., ICLR 2021, in float64: scores grow with depth as
    a product of widths. Biases take part in the pass alone; of the mini-batch the image has the
    size. LayerNorm and the softmax of attention stay: in transformers the pass is not of positive
    numbers, scores are no product of widths, and with ``log`` there is none.

    Args:
        log: Take ``Σ_w |w · ln(1 + dR/dw)|`` instead, see there.
        batch_norm: Keep BatchNorm; otherwise it is the identity. In train mode its statistics
            are then those of one image, so that hardly more than its last layers counts.
    """

    needs_forward = False
    needs_gradients = True
    reported = ("log", "batch_norm")

    def __init__(self, *, name: str, log: bool = False, batch_norm: bool = False) -> None:
        super().__init__(name=name)
        self.log = flag(f"proxy.{name}.log", log)
        self.batch_norm = flag(f"proxy.{name}.batch_norm", batch_norm)

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`; fails with ``log`` and LayerNorm."""
        if self.log and any(isinstance(m, nn.LayerNorm) for m in inputs.network.modules()):
            raise ValueError("LayerNorm turns gradients negative, which have no logarithm")
        image = torch.ones_like(inputs.batch.images[:1], dtype=torch.float64)
        value = functional.synflow(inputs.network, image, log=self.log, batch_norm=self.batch_norm)
        return {"log_synflow" if self.log else "synflow": value}
