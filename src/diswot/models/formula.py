"""What networks cost, computed from the shapes of their blocks without building them."""

from collections.abc import Sequence
from functools import cache

from diswot.models.outputs import Cost
from diswot.models.resnet import STEMS, Blocks, ResidualBlock
from diswot.models.transformers import PATCH, BlockShape, positions


def staged_cost(
    stem_width: int,
    stages: Sequence[Blocks],
    num_classes: int,
    image: tuple[int, int, int],
    stem: str = "small",
    *,
    shortcut: str = "B",
) -> Cost:
    """The cost of a `diswot.models.resnet.StagedNetwork` on an image ``(in_channels, H, W)``."""
    kernel, stride = STEMS[stem]
    in_channels, *size = image
    params, flops, (height, width) = _convolution(
        in_channels, stem_width, kernel, stride, (size[0], size[1])
    )
    if stem == "imagenet":  # the max-pooling after it
        height, width = _strided(height, 2), _strided(width, 2)
    layers, channels = 2, stem_width
    for stage in stages:
        first = (channels, stage.width, stage.stride)
        rest = (stage.width, stage.width, 1)
        for count, ends in ((1, first), (stage.depth - 1, rest)):
            shape = (stage.block, ends, stage.kernel, stage.mid_channels)
            own, (height, width) = _block(*shape, (height, width), shortcut=shortcut)
            params += count * own.params
            flops += count * own.flops
            layers += count * own.layers
        channels = stage.width
    return Cost(params + (channels + 1) * num_classes, flops + channels * num_classes, layers)


Size = tuple[int, int]
"""Height and width of a map."""


@cache
def _block(
    block: type[ResidualBlock],
    ends: tuple[int, int, int],
    kernel: int,
    mid_channels: int | None,
    size: Size,
    *,
    shortcut: str,
) -> tuple[Cost, Size]:
    """The cost of one block, and the size of its output; its shortcut is no layer.

    ``ends`` are channels before and after it, and its stride. A ``shortcut`` of option ``A`` has
    neither parameters nor MACs, see `diswot.models.layers.make_shortcut`.
    """
    before, after, stride = ends
    shapes = block.shapes(before, mid_channels, after, kernel, stride)
    params, flops, here = 0, 0, size
    for shape in shapes:
        own_params, own_flops, here = _convolution(*shape, here)
        params += own_params
        flops += own_flops
    if shortcut == "B" and (stride != 1 or before != after):
        own_params, own_flops, _ = _convolution(before, after, 1, stride, size)
        params += own_params
        flops += own_flops
    return Cost(params, flops, len(shapes)), here


def _convolution(
    before: int, after: int, kernel: int, stride: int, size: Size
) -> tuple[int, int, Size]:
    """Parameters with those of the BatchNorm behind it, MACs, and the size of the output."""
    height, width = _strided(size[0], stride), _strided(size[1], stride)
    weights = before * after * kernel**2
    return weights + 2 * after, weights * height * width, (height, width)


def _strided(side: int, stride: int) -> int:
    return -(-side // stride)


def transformer_cost(
    stages: Sequence[Sequence[BlockShape]],
    stride: int,
    num_classes: int,
    image: tuple[int, int, int],
) -> Cost:
    """The cost of a `diswot.models.transformers.PatchTransformer` on an image."""
    in_channels, *size = image
    height, width = ((side - PATCH) // stride + 1 for side in size)
    channels = stages[0][0].width
    weights = in_channels * PATCH**2 * channels
    params = weights + channels * (1 + positions(stride) ** 2)
    flops, layers = weights * height * width, 2
    for number, stage in enumerate(stages):
        if number:
            height, width, channels = _strided(height, 2), _strided(width, 2), stage[0].width
            params += 10 * channels
            flops += 9 * channels * height * width
            layers += 1
        tokens = height * width
        for block in stage:
            weights = channels * (4 * channels + 2 * block.hidden)
            params += weights + 9 * channels + block.hidden  # biases and two LayerNorms
            flops += tokens * weights + 2 * tokens**2 * channels
            layers += 4
    params += 2 * channels + (channels + 1) * num_classes
    return Cost(params, flops + channels * num_classes, layers)
