"""ShuffleNet, versions 1 and 2, for small images."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from diswot.checks import whole
from diswot.errors import UserError
from diswot.models.sequential import SequentialNetwork, conv_bn, depthwise

_STEM = 24


class GroupedUnit(nn.Module):
    """Grouped 1 x 1, shuffle, 3 x 3 depthwise, grouped 1 x 1 (Zhang et al., CVPR 2018, figure 2).

    With a stride the average-pooled input is put beside the branch, else it is added. The ReLU
    after that is the caller's. From the stem's channels on the first convolution is not grouped.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, groups: int) -> None:
        super().__init__()
        added = out_channels - (in_channels if stride > 1 else 0)
        middle, first = added // 4, 1 if in_channels == _STEM else groups
        self.branch = nn.Sequential(
            *conv_bn(in_channels, middle, groups=first),
            nn.ReLU(),
            nn.ChannelShuffle(first),
            *depthwise(middle, stride),
            nn.ReLU(),
            *conv_bn(middle, added, groups=groups),
        )
        self.pool = nn.AvgPool2d(3, stride, 1) if stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in_channels, H, W)`` to ``(B, out_channels, H/stride, W/stride)``."""
        y: Tensor = self.branch(x)
        return y + x if self.pool is None else torch.cat([y, self.pool(x)], dim=1)


class ShuffleNetV1(SequentialNetwork):
    """ShuffleNet as CRD's CIFAR-100 protocol has it (Tian et al., ICLR 2020).

    The stem is a 1 x 1 convolution to 24 channels; every stage halves the map. CRD's has widths
    ``240, 480, 960``, depths ``4, 8, 4`` and 3 groups. As there, a ReLU follows the
    depthwise convolution too, where the paper has none.

    Raises:
        UserError: Depths and widths that are not as many, or widths that cannot be grouped.
    """

    def __init__(
        self,
        depths: Sequence[int],
        widths: Sequence[int],
        groups: int,
        num_classes: int = 10,
        in_channels: int = 3,
    ) -> None:
        groups = whole("network.groups", groups, 1)
        _check(depths, widths, 4 * groups)
        stages = []
        for (before, after), depth in zip(pairwise([_STEM, *widths]), depths, strict=True):
            units: list[nn.Module] = [GroupedUnit(before, after, 2, groups), nn.ReLU()]
            for _ in range(depth - 1):
                units += [GroupedUnit(after, after, 1, groups), nn.ReLU()]
            stages.append(nn.Sequential(*units))
        super().__init__(_stem(in_channels), stages, widths[-1], num_classes)


class SplitUnit(nn.Module):
    """Half of the channels through 1 x 1, 3 x 3 depthwise, 1 x 1; then both halves are shuffled.

    Ma et al., ECCV 2018, figure 3. With a stride, of 2, both halves are made of the whole input,
    the other one by a depthwise and a 1 x 1 convolution.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        half, entering = out_channels // 2, in_channels if stride > 1 else in_channels // 2
        self.branch = nn.Sequential(
            *conv_bn(entering, half),
            nn.ReLU(),
            *depthwise(half, stride),
            *conv_bn(half, half),
            nn.ReLU(),
        )
        self.other = None
        if stride > 1:
            layers = [*depthwise(in_channels, stride), *conv_bn(in_channels, half), nn.ReLU()]
            self.other = nn.Sequential(*layers)
        self.shuffle = nn.ChannelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in_channels, H, W)`` to ``(B, out_channels, H/stride, W/stride)``."""
        kept, entering = x.chunk(2, dim=1) if self.other is None else (self.other(x), x)
        shuffled: Tensor = self.shuffle(torch.cat([kept, self.branch(entering)], dim=1))
        return shuffled


class ShuffleNetV2(SequentialNetwork):
    """ShuffleNetV2 as CRD's CIFAR-100 protocol has it (Tian et al., ICLR 2020).

    The stem is a 1 x 1 convolution to 24 channels; every stage halves the map by its first unit.
    ``widths`` are those of the stages and of the 1 x 1 convolution that ends the last one, which
    CRD's last map does not include. CRD's has widths ``116, 232, 464, 1024`` and depths
    ``4, 8, 4``. Stages but the last end without activation.

    Raises:
        UserError: Depths and widths that do not fit together, or an odd width.
    """

    def __init__(
        self,
        depths: Sequence[int],
        widths: Sequence[int],
        num_classes: int = 10,
        in_channels: int = 3,
    ) -> None:
        *stage_widths, last = widths
        _check(depths, stage_widths, 2)
        stages: list[list[nn.Module]] = []
        for (before, after), depth in zip(pairwise([_STEM, *stage_widths]), depths, strict=True):
            others = (SplitUnit(after, after, 1) for _ in range(depth - 1))
            stages.append([SplitUnit(before, after, 2), *others])
        stages[-1] += [*conv_bn(stage_widths[-1], last), nn.ReLU()]
        stem = _stem(in_channels)
        super().__init__(stem, [nn.Sequential(*each) for each in stages], last, num_classes)


def _stem(in_channels: int) -> nn.Sequential:
    return nn.Sequential(*conv_bn(in_channels, _STEM), nn.ReLU())


def _check(depths: Sequence[int], widths: Sequence[int], multiple: int) -> None:
    if len(depths) != len(widths) or not depths or min(depths) < 1:
        raise UserError(
            f"network.depths: {list(depths)} must be one number of blocks >= 1 for each of the "
            f"widths {list(widths)} of stages"
        )
    if wrong := [width for width in widths if width < multiple or width % multiple]:
        raise UserError(f"network.widths: {wrong[0]} is no multiple of {multiple}")
    if any(after <= before for before, after in pairwise([_STEM, *widths])):
        raise UserError(f"network.widths: {list(widths)} must grow from the stem's {_STEM}")
