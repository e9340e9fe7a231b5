"""Residual blocks and cells of a network, wherever they are nested."""

from __future__ import annotations

from torch import nn

from diswot.models.cells import Cell, DownBlock
from diswot.models.resnet import WideBlock
from diswot.models.staged import ResidualBlock

__all__ = ["find_blocks"]


def find_blocks(network: nn.Module) -> list[nn.Module]:
    """Residual blocks and cells, in the network's order; none of an adapted classifier.

    None of these types contains another one, so that no module is in two blocks.
    """
    kinds = (ResidualBlock, WideBlock, Cell, DownBlock)
    return [module for module in network.modules() if isinstance(module, kinds)]
