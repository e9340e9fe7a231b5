"""Residual blocks that fixed networks and search spaces share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from typing import cast

from torch import Tensor, nn
from torch.nn import functional

from diswot.errors import UserError

__all__ = ["BasicBlock", "Bottleneck", "PaddedShortcut", "ResidualBlock", "make_shortcut"]


class ResidualBlock(nn.Module, ABC):
    """A residual branch plus a shortcut, then a ReLU (He et al., CVPR 2016).

    Every ReLU is a module of its own and none works in place, so that hooks see each of them.

    Attributes:
        out_channels: Channels of the block's output.
        shortcut: The other way round the residual branch, see :func:`make_shortcut`.
        relu: The last activation.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, shortcut: str) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.shortcut = make_shortcut(in_channels, out_channels, stride, shortcut)
        self.relu = nn.ReLU()

    @abstractmethod
    def residual(self, x: Tensor) -> Tensor:
        """The residual branch: ``(B, in_channels, H, W)`` to ``(B, out_channels, H', W')``."""

    def preactivation(self, x: Tensor) -> Tensor:
        """The sum of both branches, before the last ReLU; shapes as in :meth:`residual`."""
        return self.residual(x) + cast(Tensor, self.shortcut(x))

    def forward(self, x: Tensor) -> Tensor:
        """The block's output; shapes as in :meth:`residual`."""
        return cast(Tensor, self.relu(self.preactivation(x)))


class BasicBlock(ResidualBlock):
    """Two convolutions: K x K with the stride, then K x K.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: Stride of the first convolution.
        kernel: K, odd.
        mid_channels: Channels between the convolutions; ``out_channels`` if not given.
        shortcut: ``A`` or ``B``, see :func:`make_shortcut`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        *,
        kernel: int = 3,
        mid_channels: int | None = None,
        shortcut: str = "B",
    ) -> None:
        super().__init__(in_channels, out_channels, stride, shortcut)
        mid_channels = mid_channels or out_channels
        self.conv1 = _conv(in_channels, mid_channels, kernel, stride)
        self.bn1 = nn.BatchNorm2d(mid_channels)
        self.relu1 = nn.ReLU()
        self.conv2 = _conv(mid_channels, out_channels, kernel)
        self.bn2 = nn.BatchNorm2d(out_channels)

    def residual(self, x: Tensor) -> Tensor:
        """See :meth:`ResidualBlock.residual`."""
        x = self.relu1(self.bn1(self.conv1(x)))
        return cast(Tensor, self.bn2(self.conv2(x)))


class Bottleneck(ResidualBlock):
    """Three convolutions: 1 x 1, K x K with the stride, 1 x 1.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: Stride of the middle convolution.
        kernel: K, odd.
        mid_channels: Channels of the middle convolution; a quarter of ``out_channels`` if not
            given.
        shortcut: ``A`` or ``B``, see :func:`make_shortcut`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        *,
        kernel: int = 3,
        mid_channels: int | None = None,
        shortcut: str = "B",
    ) -> None:
        super().__init__(in_channels, out_channels, stride, shortcut)
        mid_channels = mid_channels or max(1, out_channels // 4)
        self.conv1 = _conv(in_channels, mid_channels, 1)
        self.bn1 = nn.BatchNorm2d(mid_channels)
        self.relu1 = nn.ReLU()
        self.conv2 = _conv(mid_channels, mid_channels, kernel, stride)
        self.bn2 = nn.BatchNorm2d(mid_channels)
        self.relu2 = nn.ReLU()
        self.conv3 = _conv(mid_channels, out_channels, 1)
        self.bn3 = nn.BatchNorm2d(out_channels)

    def residual(self, x: Tensor) -> Tensor:
        """See :meth:`ResidualBlock.residual`."""
        x = self.relu1(self.bn1(self.conv1(x)))
        x = self.relu2(self.bn2(self.conv2(x)))
        return cast(Tensor, self.bn3(self.conv3(x)))


class PaddedShortcut(nn.Module):
    """Option A of He et al.: subsample, and pad the missing channels with zeros on both sides."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        if out_channels < in_channels:
            raise UserError(
                f"network.shortcut: A cannot cut {in_channels} channels to {out_channels}; use B"
            )
        self.stride = stride
        self.before = (out_channels - in_channels) // 2
        self.after = out_channels - in_channels - self.before

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in_channels, H, W)`` to ``(B, out_channels, H/stride, W/stride)``."""
        x = x[:, :, :: self.stride, :: self.stride]
        return functional.pad(x, (0, 0, 0, 0, self.before, self.after))


def make_shortcut(in_channels: int, out_channels: int, stride: int, option: str) -> nn.Module:
    """The shortcut of a block: the identity where the shape stays, else by option.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: Stride of the block.
        option: ``A``, zero padding without parameters (He et al. on CIFAR-10), or ``B``, a 1 x 1
            convolution with BatchNorm as members ``conv`` and ``bn`` (CRD's CIFAR-100 protocol).

    Raises:
        UserError: For any other option, or for ``A`` where channels shrink.
    """
    if option not in ("A", "B"):
        raise UserError(f"network.shortcut: {option!r} is unknown; allowed are A and B")
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    if option == "A":
        return PaddedShortcut(in_channels, out_channels, stride)
    conv = _conv(in_channels, out_channels, 1, stride)
    return nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(out_channels)))


def _conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)
