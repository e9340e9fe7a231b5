"""Parameters, multiply-accumulates and layers of a network, counted without data."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["FREE_LAYERS", "Cost", "count_flops", "count_layers", "count_params"]

FREE_LAYERS = (nn.modules.batchnorm._NormBase, nn.ReLU, nn.ReLU6, nn.Hardswish, nn.SiLU)
"""Modules without MACs that keep the shape; on the meta device they take half the time."""


@dataclass(frozen=True)
class Cost:
    """Trainable parameters, MACs (see `count_flops`) and layers (`count_layers`) of a network."""

    params: int
    flops: int
    layers: int


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
    """MACs of convolutions and matrix products for one image ``(in_channels, height, width)``.

    The network may be on any device, the meta device too; its mode and statistics are kept.
    """
    device, training = next(network.parameters()).device, network.training
    network.eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(torch.empty(1, *image, device=device))
    finally:
        network.train(training)
    return int(counter.get_total_flops()) // 2
