"""Wide ResNets for small images (Zagoruyko & Komodakis, BMVC 2016)."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

from torch import Tensor, nn

from diswot.checks import whole
from diswot.errors import UserError
from diswot.models.outputs import NetworkOutputs

__all__ = ["WideResNet"]


class WideBlock(nn.Module):
    """Two 3 x 3 convolutions, each after its BatchNorm and ReLU (He et al., ECCV 2016).

    Where the width changes, the shortcut is a 1 x 1 convolution of the *activated* input; else it
    is the input itself. Every ReLU is a module of its own and none works in place.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.relu1 = nn.ReLU()
        self.conv1 = _conv(in_channels, out_channels, 3, stride)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu2 = nn.ReLU()
        self.conv2 = _conv(out_channels, out_channels, 3)
        changes = in_channels != out_channels
        self.shortcut = _conv(in_channels, out_channels, 1, stride) if changes else None

    def rest(self, x: Tensor, activated: Tensor) -> Tensor:
        """The block's output.

        Args:
            x: Its input ``(B, in_channels, H, W)``.
            activated: The same after BatchNorm and ReLU.
        """
        branch = self.conv2(self.relu2(self.bn2(self.conv1(activated))))
        return cast(Tensor, branch + (x if self.shortcut is None else self.shortcut(activated)))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in_channels, H, W)`` to ``(B, out_channels, H/stride, W/stride)``."""
        return self.rest(x, self.relu1(self.bn1(x)))


class WideResNet(nn.Module):
    """WRN-d-k as CRD's CIFAR-100 protocol has it (Tian et al., ICLR 2020), without dropout.

    Its parts are ``conv1 layer1 layer2 layer3 bn1 relu fc``. A group of blocks ends in a sum;
    the BatchNorm and ReLU after it open the next group. So stage maps are what that ReLU gives and
    preactivations what it gets, which is CRD's code with ``preact=True``; without, that code
    distils from the sums.

    Args:
        depth: d, 6n + 4 with n blocks a group.
        width: k; the groups have 16k, 32k and 64k channels, the stem 16.
        num_classes: Rows of the classifier.
        in_channels: Channels of the images.

    Raises:
        UserError: For another depth, or a width below 1.
    """

    def __init__(self, depth: int, width: int, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        if whole("network.depth", depth, 10) % 6 != 4:
            raise UserError(f"network.depth={depth} is not allowed; give 6n + 4: 10, 16, 22, 28, …")
        width = whole("network.width", width, 1)
        widths = [16, 16 * width, 32 * width, 64 * width]
        blocks = (int(depth) - 4) // 6
        self.conv1 = _conv(in_channels, widths[0], 3)
        groups = [
            _group(blocks, before, after, stride)
            for (before, after), stride in zip(pairwise(widths), (1, 2, 2), strict=True)
        ]
        self.layer1, self.layer2, self.layer3 = groups
        self.bn1 = nn.BatchNorm2d(widths[-1])
        self.relu = nn.ReLU()
        self.fc = nn.Linear(widths[-1], num_classes)

    @property
    def classifier(self) -> nn.Linear:
        """The last linear layer, ``(num_classes, 64k)`` weights."""
        return self.fc

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(B, num_classes)`` of ``(B, in_channels, H, W)`` images."""
        x = self.layer3(self.layer2(self.layer1(self.conv1(images))))
        return cast(Tensor, self.fc(self.relu(self.bn1(x)).mean((2, 3))))

    def outputs(self, images: Tensor) -> NetworkOutputs:
        """Stage maps, embedding and logits from one forward pass.

        Args:
            images: ``(B, in_channels, H, W)``, normalised.
        """
        x = self.layer1(self.conv1(images))
        preactivations, maps = [], []
        for group in (self.layer2, self.layer3):
            first, *others = cast("list[WideBlock]", list(group))
            preactivations.append(first.bn1(x))
            maps.append(first.relu1(preactivations[-1]))
            x = first.rest(x, maps[-1])
            for block in others:
                x = block(x)
        preactivations.append(self.bn1(x))
        maps.append(self.relu(preactivations[-1]))
        embedding = maps[-1].mean((2, 3))
        return NetworkOutputs(tuple(maps), tuple(preactivations), embedding, self.fc(embedding))


def _group(blocks: int, in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    first = WideBlock(in_channels, out_channels, stride)
    return nn.Sequential(
        first, *(WideBlock(out_channels, out_channels, 1) for _ in range(blocks - 1))
    )


def _conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)
