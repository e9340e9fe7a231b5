"""VGG for small images."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from diswot.errors import UserError
from diswot.models.sequential import SequentialNetwork, conv_bn


class VGG(SequentialNetwork):
    """VGG as CRD's CIFAR-100 protocol has it (Tian et al., ICLR 2020), with one linear layer.

    3 x 3 convolutions with bias, BatchNorm and ReLU in groups (Simonyan & Zisserman, ICLR 2015).
    The first group is the stem; before each further one the map is max-pooled to half its size, but
    for the last, which is for images of 32 pixels the fifth. VGG-8 has depths of 1, VGG-13 of 2,
    both widths ``64, 128, 256, 512, 512``.

    Raises:
        UserError: Depths and widths that are not as many, or below 1.
    """

    def __init__(
        self,
        depths: Sequence[int],
        widths: Sequence[int],
        num_classes: int = 10,
        in_channels: int = 3,
    ) -> None:
        if len(depths) != len(widths) or len(depths) < 2 or min(*depths, *widths) < 1:
            raise UserError(
                f"network.depths: {list(depths)} and network.widths: {list(widths)} must be as "
                "many numbers >= 1, two or more, one for each group of convolutions"
            )
        groups = [
            _group(before, after, depth)
            for (before, after), depth in zip(pairwise([in_channels, *widths]), depths, strict=True)
        ]
        for group in groups[1:-1]:
            group.insert(0, nn.MaxPool2d(2))
        stem, *stages = (nn.Sequential(*group) for group in groups)
        super().__init__(stem, stages, widths[-1], num_classes)


def _group(in_channels: int, width: int, depth: int) -> list[nn.Module]:
    widths = [in_channels, *[width] * depth]
    layers = ([*conv_bn(*pair, 3, bias=True), nn.ReLU()] for pair in pairwise(widths))
    return [layer for each in layers for layer in each]
