"""TE-NAS as a proxy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from diswot.checks import choice, flag
from diswot.keys import generator
from diswot.models.staged import PaddedShortcut
from diswot.proxies.base import Components, Proxy, ProxyInput
from diswot.proxies.combine import combine
from diswot.proxies.functional.te_nas import condition_number, count_patterns

__all__ = ["TENAS", "linear_regions", "tangent_kernel"]

_COMBINATIONS = ("rank", "ntk", "regions")
_KERNEL_IMAGES = 16
_REGION_IMAGES, _REGION_SIZE = 1000, 3


def tangent_kernel(network: nn.Module, images: Tensor) -> Tensor:
    """Gram matrix of the gradients of each image's summed logits, ``(B, B)`` in float64.

    Taken are the gradients of every parameter called ``weight``, those of BatchNorm included.

    Args:
        network: In train mode; its running statistics change.
        images: ``(B, C, H, W)``; one backward pass each.
    """
    taken = [p for name, p in network.named_parameters() if name.endswith("weight")]
    with torch.enable_grad():
        totals = network(images).sum(1)
    rows = [
        torch.autograd.grad(total, taken, retain_graph=True, allow_unused=True) for total in totals
    ]
    gram = torch.zeros(len(rows), len(rows), dtype=torch.float64, device=images.device)
    for column in zip(*rows, strict=True):
        if column[0] is not None:
            jacobian = torch.stack([g.flatten() for g in column]).double()
            gram += jacobian @ jacobian.T
    return gram


def linear_regions(network: nn.Module, images: Tensor) -> int:
    """How many of the images differ in which ReLUs of maps are on.

    Args:
        network: Any; in train mode its running statistics change.
        images: ``(B, C, H, W)``.

    Raises:
        ValueError: The network calls no ReLU module on a map.
    """
    active: list[Tensor] = []

    def record(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if inputs[0].ndim == 4:
            active.append((inputs[0] > 0).flatten(1))

    relus = [module for module in network.modules() if isinstance(module, nn.ReLU | nn.ReLU6)]
    handles = [relu.register_forward_pre_hook(record) for relu in relus]
    try:
        with torch.no_grad():
            network(images)
    finally:
        for handle in handles:
            handle.remove()
    if not active:
        raise ValueError("the network calls no nn.ReLU or nn.ReLU6 module on a map")
    return count_patterns(torch.cat(active, dim=1))


class TENAS(Proxy):
    """Ranks of −λ_max/λ_min of the neural tangent kernel and of linear regions, added.

    Source: Chen et al., "Neural Architecture Search on ImageNet in Four GPU Hours: A
    Theoretically Inspired Perspective", ICLR 2021. ``ntk`` is minus the condition number of the
    `tangent_kernel` on the mini-batch's first 16 images (all of fewer), in train mode.
    ``regions`` is the number of ReLU patterns among 1,000 Gaussian images of 3 × 3 pixels,
    counted as released in a copy that is one channel wide: at full width, or with images of the
    usual size, next to every image has a pattern of its own and all networks score the same. The
    released code lets a kernel whose least eigenvalue is rounded below zero win; here it has no
    score.

    Args:
        name: Key of the config.
        combine: ``rank`` as published adds the ranks among all candidates seen so far, so that
            scores are relative; ``ntk`` and ``regions`` take one of the two as it is.
        thin: Count regions in the copy of one channel; otherwise at full width.

    Raises:
        UserError: An unknown combination, or a ``thin`` that is neither true nor false.
    """

    needs_forward = False
    needs_gradients = True

    def __init__(self, *, name: str, combine: str = "rank", thin: bool = True) -> None:
        super().__init__(name=name)
        self.combine = choice(f"proxy.{name}.combine", combine, _COMBINATIONS)
        self.thin = flag(f"proxy.{name}.thin", thin)
        self.needs_gradients = combine != "regions"

    def measure(self, inputs: ProxyInput) -> Components:
        """``ntk`` and ``regions``, or the one asked for.

        Raises:
            ValueError: The kernel is singular, or no map goes through a ReLU module.
        """
        parts: Components = {}
        if self.combine != "regions":
            gram = tangent_kernel(inputs.copy(), inputs.batch.images[:_KERNEL_IMAGES])
            parts["ntk"] = -condition_number(gram).item()
        if self.combine != "ntk":
            network = _thinned(inputs.copy()) if self.thin else inputs.copy()
            parts["regions"] = float(linear_regions(network, self._images(inputs)))
        return parts

    def _images(self, inputs: ProxyInput) -> Tensor:
        channels = 1 if self.thin else inputs.batch.images.shape[1]
        key = generator("te_nas proxy", inputs.seed)
        shape = (_REGION_IMAGES, channels, _REGION_SIZE, _REGION_SIZE)
        return torch.randn(shape, generator=key).to(inputs.batch.images)

    def fitness(self, parts: Sequence[Components]) -> list[float]:
        """The sum of ranks, or the one part."""
        return combine(parts, "rank" if self.relative else "sum")

    @property
    def relative(self) -> bool:
        """True for ``rank``."""
        return self.combine == "rank"

    def settings(self) -> dict[str, Any]:
        """Combination and width."""
        return {"combine": self.combine, "thin": self.thin}


def _thinned(network: nn.Module) -> nn.Module:
    """Keep the first channel of every layer, with its parameters."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            _cut(module, "weight", (1, 1))
            _cut(module, "bias", (1,))
            module.in_channels = module.out_channels = module.groups = 1
        elif isinstance(module, nn.BatchNorm2d):
            for name in ("weight", "bias", "running_mean", "running_var"):
                _cut(module, name, (1,))
            module.num_features = 1
        elif isinstance(module, nn.Linear):
            _cut(module, "weight", (module.out_features, 1))
            module.in_features = 1
        elif isinstance(module, PaddedShortcut):
            module.before = module.after = 0
    return network


def _cut(module: nn.Module, name: str, sizes: tuple[int, ...]) -> None:
    tensor = getattr(module, name)
    if isinstance(tensor, Tensor):
        kept = tensor.detach()[tuple(slice(size) for size in sizes)].clone()
        setattr(module, name, nn.Parameter(kept) if isinstance(tensor, nn.Parameter) else kept)
