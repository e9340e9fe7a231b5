"""Zen-score as a proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from diswot.checks import choice, whole
from diswot.keys import generator
from diswot.models.init import Gaussian
from diswot.proxies.base import Components, Proxy, ProxyInput

if TYPE_CHECKING:
    from diswot.models.outputs import Network

__all__ = ["Zen", "zen_score"]

_STEP = 0.01
_INITS = ("gaussian", "run")


def zen_score(network: nn.Module, images: Tensor, direction: Tensor) -> Tensor:
    """``ln mean_b Σ_chw |f(x) − f(x + 0.01 z)| + Σ_BN ln √(mean running variance)``.

    f is the map before global average pooling. The running variances are what both passes leave
    behind, a moving average and not the variance of a batch: running statistics that are fresh
    before make the score a function of its arguments.

    Args:
        network: In train mode; its running statistics change.
        images: x, ``(B, C, H, W)``.
        direction: z, of the same shape.
    """
    with torch.no_grad():
        passes = (images, images + _STEP * direction)
        here, there = (cast("Network", network).outputs(x).stages[-1].double() for x in passes)
        score = (here - there).abs().flatten(1).sum(1).mean().log()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d) and module.running_var is not None:
                score = score + module.running_var.double().mean().sqrt().log()
    return score


class Zen(Proxy):
    """How far the last map moves when its input does, BatchNorm's scaling put back in.

    Source: Lin et al., "Zen-NAS: A Zero-Shot NAS for High-Performance Deep Image Recognition",
    ICCV 2021; see `zen_score` for the formula. Inputs are Gaussian noise of the mini-batch's
    shape. The released code lets the running statistics drift over its repeats; here each
    repeat begins with fresh ones, weights and inputs of its own.

    Args:
        name: Key of the config.
        init: ``gaussian`` draws weights from N(0, 1) as published, ``run`` keeps those of the
            run's ``init``.
        repeats: How many scores are averaged.

    Raises:
        UserError: An unknown init, or repeats that are no whole number of at least 1.
    """

    needs_forward = False

    def __init__(self, *, name: str, init: str = "gaussian", repeats: int = 1) -> None:
        super().__init__(name=name)
        self.init = choice(f"proxy.{name}.init", init, _INITS)
        self.repeats = whole(f"proxy.{name}.repeats", repeats, 1)

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`.

        Raises:
            ValueError: The last map does not depend on the images.
        """
        scores = torch.stack([self._score(inputs, index) for index in range(self.repeats)])
        if scores.isneginf().any():
            raise ValueError("the last map does not depend on the images")
        return {"zen": scores.mean().item()}

    def _score(self, inputs: ProxyInput, repeat: int) -> Tensor:
        network = inputs.copy()
        if self.init == "gaussian":
            role = f"student {repeat}" if repeat else "student"
            Gaussian()(network, seed=inputs.seed, role=role)
        images, direction = (_noise(inputs, what, repeat) for what in ("images", "direction"))
        return zen_score(network, images, direction)

    def settings(self) -> dict[str, Any]:
        """Initialisation and repeats."""
        return {"init": self.init, "repeats": self.repeats}


def _noise(inputs: ProxyInput, what: str, repeat: int) -> Tensor:
    like = inputs.batch.images
    key = generator("zen proxy", inputs.seed, what, repeat)
    noise = torch.randn(like.shape, generator=key).to(like)
    return noise.contiguous(memory_format=torch.channels_last)
