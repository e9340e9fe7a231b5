"""ResNets and wide ResNets for small images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

from torch import Tensor, nn

from diswot.checks import whole
from diswot.errors import UserError
from diswot.models.outputs import NetworkOutputs, PooledNetwork
from diswot.models.staged import BasicBlock, StagedNetwork, convolution, make_stage

__all__ = ["CifarResNet", "WideResNet"]


class CifarResNet(StagedNetwork):
    """ResNet of basic blocks (He et al., CVPR 2016, section 4.2).

    Every stage but the first halves the resolution. ResNet-(6n+2) has depths ``n, n, n`` and
    widths ``16, 16, 32, 64``. CRD's ResNet-8x4 and 32x4 (Tian et al., ICLR 2020) have depths of 1
    and 5 and widths ``32, 64, 128, 256``.

    Args:
        depths: Blocks of each stage.
        widths: Channels of the stem, then of each stage.
        shortcut: ``A`` or ``B``, see `diswot.models.staged.make_shortcut`.

    Raises:
        UserError: Where depths and widths do not fit together or the shortcut is unknown.
    """

    def __init__(
        self,
        depths: Sequence[int],
        widths: Sequence[int],
        shortcut: str = "B",
        num_classes: int = 10,
        in_channels: int = 3,
    ) -> None:
        if not depths or min(depths) < 1:
            raise UserError(
                f"network.depths: {list(depths)} must be one number of blocks >= 1 a stage"
            )
        if len(widths) != len(depths) + 1 or min(widths) < 1:
            raise UserError(
                f"network.widths: {list(widths)} must be {len(depths) + 1} numbers >= 1, one for "
                f"the stem and one for each of the {len(depths)} stages of network.depths"
            )
        strides = [1] + [2] * (len(depths) - 1)
        stages = [
            make_stage(BasicBlock, depth, *channels, stride, shortcut=shortcut)
            for depth, channels, stride in zip(depths, pairwise(widths), strides, strict=True)
        ]
        super().__init__(widths[0], stages, num_classes, in_channels)


class WideBlock(nn.Module):
    """Two 3 x 3 convolutions, each after its BatchNorm and ReLU (He et al., ECCV 2016).

    Where the width changes, the shortcut is a 1 x 1 convolution of the *activated* input; else it
    is the input itself. Every ReLU is a module of its own and none works in place.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.relu1 = nn.ReLU()
        self.conv1 = convolution(in_channels, out_channels, 3, stride)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu2 = nn.ReLU()
        self.conv2 = convolution(out_channels, out_channels, 3)
        changes = in_channels != out_channels
        self.shortcut = convolution(in_channels, out_channels, 1, stride) if changes else None

    def rest(self, x: Tensor, activated: Tensor) -> Tensor:
        """The block's output, of its input and of that input after BatchNorm and ReLU."""
        branch = self.conv2(self.relu2(self.bn2(self.conv1(activated))))
        return cast(Tensor, branch + (x if self.shortcut is None else self.shortcut(activated)))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in_channels, H, W)`` to ``(B, out_channels, H/stride, W/stride)``."""
        return self.rest(x, self.relu1(self.bn1(x)))


class WideResNet(PooledNetwork):
    """WRN-d-k as CRD's CIFAR-100 protocol has it (Tian et al., ICLR 2020), without dropout.

    Its parts are ``conv1 layer1 layer2 layer3 bn1 relu fc``. A group of blocks ends in a sum;
    the BatchNorm and ReLU after it open the next group. So stage maps are what that ReLU gives and
    preactivations what it gets, which is CRD's code with ``preact=True``; without, that code
    distils from the sums.

    Args:
        depth: d, 6n + 4 with n blocks a group.
        width: k; the groups have 16k, 32k and 64k channels, the stem 16.

    Raises:
        UserError: For another depth, or a width below 1.
    """

    def __init__(self, depth: int, width: int, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        if whole("network.depth", depth, 10) % 6 != 4:
            raise UserError(f"network.depth={depth} is not allowed; give 6n + 4: 10, 16, 22, 28, …")
        width = whole("network.width", width, 1)
        widths = [16, 16 * width, 32 * width, 64 * width]
        self.conv1 = convolution(in_channels, widths[0], 3)
        groups = []
        for (before, after), stride in zip(pairwise(widths), (1, 2, 2), strict=True):
            others = (WideBlock(after, after, 1) for _ in range((int(depth) - 4) // 6 - 1))
            groups.append(nn.Sequential(WideBlock(before, after, stride), *others))
        self.layer1, self.layer2, self.layer3 = groups
        self.bn1 = nn.BatchNorm2d(widths[-1])
        self.relu = nn.ReLU()
        self.fc = nn.Linear(widths[-1], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """See `PooledNetwork`; a plain pass, in which every module is called."""
        x = self.layer3(self.layer2(self.layer1(self.conv1(images))))
        return cast(Tensor, self.fc(self.relu(self.bn1(x)).mean((2, 3))))

    def outputs(self, images: Tensor) -> NetworkOutputs:
        """See `Network`."""
        x = self.layer1(self.conv1(images))
        preactivations, maps = [], []
        for group in (self.layer2, self.layer3):
            first = cast(WideBlock, group[0])
            preactivations.append(first.bn1(x))
            maps.append(first.relu1(preactivations[-1]))
            x = group[1:](first.rest(x, maps[-1]))
        preactivations.append(self.bn1(x))
        maps.append(self.relu(preactivations[-1]))
        return self.pooled(maps, preactivations)
