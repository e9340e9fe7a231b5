"""Networks that are a stem and stages in sequence, and the layers most of them are made of."""

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from diswot.models.outputs import NetworkOutputs, PooledNetwork


class SequentialNetwork(PooledNetwork):
    """Stem, stages, global average pooling, linear classifier: ``stem layer1 ... layerN fc``.

    A stage's preactivation is what enters the ReLU that it ends with, if it does; else its map.
    ``width`` is the number of channels of the last stage.
    """

    def __init__(
        self, stem: nn.Module, stages: Sequence[nn.Sequential], width: int, num_classes: int
    ) -> None:
        super().__init__()
        self.stem = stem
        for number, stage in enumerate(stages, start=1):
            self.add_module(f"layer{number}", stage)
        self.fc = nn.Linear(width, num_classes)
        self._count = len(stages)

    @property
    def stages(self) -> tuple[nn.Sequential, ...]:
        """``layer1 ... layerN``."""
        names = (f"layer{number}" for number in range(1, self._count + 1))
        return tuple(cast(nn.Sequential, self.get_submodule(name)) for name in names)

    def forward(self, images: Tensor) -> Tensor:
        """A plain pass, in which every module is called; see `PooledNetwork`."""
        x = self.stem(images)
        for stage in self.stages:
            x = stage(x)
        return cast(Tensor, self.fc(x.mean((2, 3))))

    def outputs(self, images: Tensor) -> NetworkOutputs:
        """See `Network`."""
        x = self.stem(images)
        maps, preactivations = [], []
        for stage in self.stages:
            before = stage[:-1](x)
            x = stage[-1](before)
            maps.append(x)
            preactivations.append(before if isinstance(stage[-1], nn.ReLU) else x)
        return self.pooled(maps, preactivations)


def conv_bn(
    in_channels: int,
    out_channels: int,
    kernel: int = 1,
    stride: int = 1,
    *,
    groups: int = 1,
    bias: bool = False,
) -> list[nn.Module]:
    """A convolution that keeps the size of a map but for its stride, and BatchNorm."""
    padding = kernel // 2
    convolution = nn.Conv2d(
        in_channels, out_channels, kernel, stride, padding, groups=groups, bias=bias
    )
    return [convolution, nn.BatchNorm2d(out_channels)]


def depthwise(channels: int, stride: int = 1) -> list[nn.Module]:
    """A 3 x 3 convolution of each channel by itself, and BatchNorm."""
    return conv_bn(channels, channels, 3, stride, groups=channels)
