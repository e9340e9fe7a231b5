"""MobileNetV2 for small images."""

from torch import Tensor, nn

from diswot.checks import positive, whole
from diswot.models.sequential import SequentialNetwork, conv_bn, depthwise

_STAGES = (  # of each its groups: channels, blocks and stride of the first one
    ((24, 2, 1),),
    ((32, 3, 2),),
    ((64, 4, 2), (96, 3, 1)),
    ((160, 3, 2), (320, 1, 1)),
)
_LAST = 1280


class InvertedResidual(nn.Sequential):
    """1 x 1 expansion, 3 x 3 depthwise, 1 x 1 without activation (Sandler et al., CVPR 2018).

    The input is added where the shape stays.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        wide = in_channels * expansion
        expand = [*conv_bn(in_channels, wide), nn.ReLU()]
        filtered = [*depthwise(wide, stride), nn.ReLU()]
        super().__init__(*expand, *filtered, *conv_bn(wide, out_channels))
        self.adds = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in_channels, H, W)`` to ``(B, out_channels, H/stride, W/stride)``."""
        y = x
        for layer in self:
            y = layer(y)
        return x + y if self.adds else y


class MobileNetV2(SequentialNetwork):
    """MobileNetV2 as CRD's CIFAR-100 protocol has it (Tian et al., ICLR 2020).

    The stem has stride 2; the stages end where CRD takes maps, the last one after the 1 x 1
    convolution to 1280 channels, which CRD's does not include. ``width`` multiplies all channels
    but those, and ``expansion`` is the factor between the convolutions of a block. CRD's
    ``mobile_half`` has 0.5 and 6. Stages but the last end without activation.

    Raises:
        UserError: A width that leaves no channel, or an expansion below 1.
    """

    def __init__(
        self, width: float, expansion: int, num_classes: int = 10, in_channels: int = 3
    ) -> None:
        width = positive("network.width", width)
        expansion = whole("network.expansion", expansion, 1)
        before, last = max(1, int(32 * width)), max(1, int(16 * width))
        stem = [*conv_bn(in_channels, before, 3, 2), nn.ReLU()]
        stem.append(InvertedResidual(before, last, 1, 1))
        stages = []
        for groups in _STAGES:
            blocks: list[nn.Module] = []
            for channels, depth, stride in groups:
                after = max(1, int(channels * width))
                for number in range(depth):
                    first = stride if not number else 1
                    blocks.append(InvertedResidual(last, after, first, expansion))
                    last = after
            stages.append(blocks)
        wide = max(_LAST, int(_LAST * width))
        stages[-1] += [*conv_bn(last, wide), nn.ReLU()]
        super().__init__(
            nn.Sequential(*stem), [nn.Sequential(*each) for each in stages], wide, num_classes
        )
