"""Convolutions and shortcuts that blocks are made of."""

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional

from diswot.checks import choice
from diswot.errors import UserError


def convolution(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """A convolution without bias; with an odd kernel and stride 1 it keeps the size of a map."""
    return nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)


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
    """The shortcut of a block: the identity where the shape stays, else that of the option.

    ``A`` is zero padding without parameters (He et al. on CIFAR-10), ``B`` a 1 x 1 convolution with
    BatchNorm as members ``conv`` and ``bn`` (CRD's CIFAR-100 protocol). UserError for any other
    option, or for ``A`` where channels shrink.
    """
    choice("network.shortcut", option, ("A", "B"))
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    if option == "A":
        return PaddedShortcut(in_channels, out_channels, stride)
    conv = convolution(in_channels, out_channels, 1, stride)
    return nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(out_channels)))
