"""Proxies of a network's activations, maps and outputs."""

import math
from collections import deque
from contextlib import AbstractContextManager
from typing import cast

import torch
from torch import Tensor, nn

from diswot.checks import choice, whole
from diswot.models.init import Gaussian
from diswot.models.outputs import Network
from diswot.proxies import functional
from diswot.proxies.base import Components, Proxy, ProxyInput
from diswot.proxies.passes import MINI_BATCH, Layer, watch_relus


class FeatureNorm(Proxy):
    """``mean_b ‖p_b‖₂`` of the pooled embedding p, ``(B, C)``."""

    outputs_only = True
    baseline = True

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`."""
        return {"feature_norm": functional.feature_norm(inputs.outputs.embedding).item()}


class LogitSpread(Proxy):
    """Mean over images of the standard deviation of the logits over classes, the population's."""

    outputs_only = True
    baseline = True

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`."""
        return {"logit_spread": functional.logit_spread(inputs.outputs.logits).item()}


class _Agreement:
    """Adds up the agreement of every ReLU call, that of ReLUs of one tensor computed once."""

    def __init__(self) -> None:
        self.kernel: Tensor | None = None
        self._recent: deque[tuple[Tensor, Tensor]] = deque(maxlen=4)

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        agreement = next((known for seen, known in self._recent if seen is inputs[0]), None)
        if agreement is None:
            agreement = functional.activation_agreement(inputs[0].detach())
            self._recent.append((inputs[0], agreement))
        self.kernel = agreement if self.kernel is None else self.kernel + agreement


class NWOT(Proxy):
    """``ln |det K|`` with K the agreement of ReLU patterns, added over all ReLU calls.

    Source: Mellor et al., "Neural Architecture Search without Training", ICML 2021. Counted are
    the calls of ``nn.ReLU`` and ``nn.ReLU6`` modules.
    """

    def observe(self, network: nn.Module) -> AbstractContextManager[_Agreement]:
        """Hook every ReLU."""
        return watch_relus(network, _Agreement())

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`; fails without a ReLU module, or where ReLUs do not tell samples apart."""
        kernel = inputs.observed.kernel
        if kernel is None:
            raise ValueError("the network calls no nn.ReLU or nn.ReLU6 module")
        value = functional.nwot(kernel).item()
        if value == -math.inf:
            raise ValueError("two samples switch all ReLUs alike, so the kernel is singular")
        return {"nwot": value}


class EffectiveRank(Proxy):
    """``Σ √w · ln erank`` (``sqrt_log``) or ``Σ √w · erank`` (``sqrt``) over the layers.

    erank is that of `log_effective_rank` for the centred B × B sample-relation matrix ``A Aᵀ`` of a
    layer's output, w the layer's number of parameters. The sum goes over all convolutions and
    linear layers but the classifier, in train mode; a layer that gives the same for all samples
    adds nothing. Where a layer sees windows of the samples, those of a sample count as one. The
    scale of the weights does not matter where every convolution is followed by BatchNorm.
    """

    needs_layers = True
    outputs_only = True
    reported = ("form",)

    def __init__(self, *, name: str, form: str = "sqrt_log") -> None:
        super().__init__(name=name)
        self.form = choice(f"proxy.{name}.form", form, ("sqrt_log", "sqrt"))
        self.layer_values = {MINI_BATCH: {"centred gram": _centred_gram}}

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`; fails where no layer tells the samples apart."""
        classifier = cast(Network, inputs.network).classifier
        layers = [layer for layer in inputs.layers if layer.module is not classifier]
        if not layers:
            raise ValueError("the network calls no convolution and no linear layer")

        def logarithms() -> Tensor:
            grams = (layer.value("centred gram", _centred_gram) for layer in layers)
            count = len(inputs.batch.images)
            return functional.log_effective_rank(
                torch.stack([functional.gram_of_samples(gram, count) for gram in grams])
            )

        logs = inputs.shared.get("effective ranks", logarithms)
        ranks = logs if self.form == "sqrt_log" else logs.exp()
        sizes = [sum(p.numel() for p in layer.module.parameters()) for layer in layers]
        weights = torch.tensor(sizes, dtype=torch.float64, device=ranks.device).sqrt()
        if bool(ranks.isnan().all()):
            raise ValueError("every layer gives the same for all samples")
        return {self.name: (weights * ranks.nan_to_num(nan=0.0)).sum().item()}


def _centred_gram(layer: Layer) -> Tensor:
    return functional.centred_gram(layer.output)


class Zen(Proxy):
    """How far the last map moves when its input does, BatchNorm's scaling put back in: `zen_score`.

    Source: Lin et al., "Zen-NAS: A Zero-Shot NAS for High-Performance Deep Image Recognition",
    ICCV 2021. Inputs are Gaussian noise of the mini-batch's shape. The released code lets the
    running statistics drift over its repeats; here each repeat begins with fresh ones, weights
    and inputs of its own.

    Args:
        init: ``gaussian`` draws weights from N(0, 1) as published, ``run`` keeps those of the
            run's ``init``.
        repeats: How many scores are averaged.
    """

    needs_forward = False
    reported = ("init", "repeats")

    def __init__(self, *, name: str, init: str = "gaussian", repeats: int = 1) -> None:
        super().__init__(name=name)
        self.init = choice(f"proxy.{name}.init", init, ("gaussian", "run"))
        self.repeats = whole(f"proxy.{name}.repeats", repeats, 1)

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`; fails with LayerNorm, or a last map that does not depend on the images."""
        if any(isinstance(module, nn.LayerNorm) for module in inputs.network.modules()):
            raise ValueError("LayerNorm keeps no statistics, so its scaling cannot be put back in")
        scores = torch.stack([self._score(inputs, index) for index in range(self.repeats)])
        if scores.isneginf().any():
            raise ValueError("the last map does not depend on the images")
        return {"zen": scores.mean().item()}

    def _score(self, inputs: ProxyInput, repeat: int) -> Tensor:
        network = inputs.copy()
        if self.init == "gaussian":
            role = f"student {repeat}" if repeat else "student"
            Gaussian()(network, seed=inputs.seed, role=role)
        purposes = ("images", "direction")
        noise = (inputs.noise("zen proxy", inputs.seed, purpose, repeat) for purpose in purposes)
        return functional.zen_score(network, *noise)
