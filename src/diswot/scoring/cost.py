"""Parameters, multiply-accumulates and layers of a network, counted without data."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

if TYPE_CHECKING:
    from diswot.spaces.base import Arch, Space

__all__ = ["Cost", "CostModel", "count_flops", "count_layers", "count_params"]


@dataclass(frozen=True)
class Cost:
    """What a network costs.

    Attributes:
        params: Trainable parameters.
        flops: Multiply-accumulates (MACs) of convolutions and matrix products, one image.
        layers: Convolutions and linear layers, those on projection shortcuts not counted.
    """

    params: int
    flops: int
    layers: int


_FREE = (nn.modules.batchnorm._NormBase, nn.ReLU, nn.ReLU6, nn.Hardswish, nn.SiLU)
"""Modules without MACs that keep the shape; on the meta device they take half the time."""


def _same(tensor: Tensor) -> Tensor:
    return tensor


def count_params(network: nn.Module) -> int:
    """Trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def count_layers(network: nn.Module) -> int:
    """Convolutions and linear layers, but for those inside a ``shortcut`` or ``downsample``."""
    return sum(
        isinstance(module, nn.modules.conv._ConvNd | nn.Linear)
        and not {"shortcut", "downsample"} & set(name.split("."))
        for name, module in network.named_modules()
    )


def count_flops(network: nn.Module, image: tuple[int, int, int]) -> int:
    """MACs of one image.

    Args:
        network: On any device, the meta device included; its mode and statistics are kept.
        image: ``(in_channels, height, width)``.
    """
    device = next(network.parameters()).device
    training = network.training
    network.eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(torch.empty(1, *image, device=device))
    finally:
        network.train(training)
    return int(counter.get_total_flops()) // 2


class CostModel:
    """Costs of a space's architectures, each counted once, on the meta device.

    Args:
        space: Builds the networks.
        num_classes: Width of the classifier.
        image: ``(in_channels, height, width)``.
    """

    def __init__(self, space: Space, *, num_classes: int, image: tuple[int, int, int]) -> None:
        self._space = space
        self._num_classes = num_classes
        self._image = image
        self._static: dict[Hashable, tuple[int, int]] = {}
        self._flops: dict[Hashable, int] = {}

    def params(self, arch: Arch) -> int:
        """Trainable parameters."""
        return self._counted(arch)[0]

    def layers(self, arch: Arch) -> int:
        """Convolutions and linear layers, see `Cost`."""
        return self._counted(arch)[1]

    def flops(self, arch: Arch) -> int:
        """MACs of one image."""
        if arch not in self._flops:
            self._count(arch, flops=True)
        return self._flops[arch]

    def cost(self, arch: Arch) -> Cost:
        """All three."""
        flops = self.flops(arch)
        return Cost(self.params(arch), flops, self.layers(arch))

    def measures(self) -> dict[str, Callable[[Arch], int]]:
        """The counters by name, cheapest first, so that a limit can be checked alone."""
        return {"params": self.params, "layers": self.layers, "flops": self.flops}

    def _counted(self, arch: Arch) -> tuple[int, int]:
        if arch not in self._static:
            self._count(arch, flops=False)
        return self._static[arch]

    def _count(self, arch: Arch, *, flops: bool) -> None:
        """Running costs more than building, so MACs are counted only where asked."""
        summands = self._space.summands(arch)
        if len(summands) > 2:  # else it is the base, or the base with one choice changed
            self._static[arch] = (
                _total([self.params(a) for a in summands]),
                _total([self.layers(a) for a in summands]),
            )
            if flops:
                self._flops[arch] = _total([self.flops(a) for a in summands])
            return
        with torch.device("meta"):
            network = self._space.build(
                arch, num_classes=self._num_classes, in_channels=self._image[0]
            )
        self._static[arch] = count_params(network), count_layers(network)
        if flops:
            for module in network.modules():
                if isinstance(module, _FREE):
                    module.forward = _same  # type: ignore[method-assign]
            self._flops[arch] = count_flops(network, self._image)


def _total(counts: Sequence[int]) -> int:
    """The first, and what each other one has more than it."""
    base, *others = counts
    return base + sum(other - base for other in others)
