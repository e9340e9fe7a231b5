"""Networks of residual blocks: staged ones, and ResNets and wide ResNets for small images."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from itertools import pairwise, repeat
from typing import NamedTuple, cast

from torch import Tensor, nn

from diswot.checks import choice, whole
from diswot.errors import UserError
from diswot.models.layers import convolution, make_shortcut
from diswot.models.outputs import NetworkOutputs, PooledNetwork
from diswot.models.parts import PartMaker, new_part

STEMS = {"small": (3, 1), "imagenet": (7, 2)}  # kernel and stride

Shape = tuple[int, int, int, int]


class ResidualBlock(nn.Module, ABC):
    """A residual branch plus a shortcut, see `make_shortcut`, then a ReLU (He et al., CVPR 2016).

    The branch is ``conv1 bn1 relu1 conv2 bn2 ...`` with an odd ``kernel`` K and ``mid_channels``
    between the convolutions, by default as the block says. Every ReLU is a module of its own and
    none works in place, so that hooks see each of them.
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
        super().__init__()
        self.out_channels = out_channels
        self.shortcut = make_shortcut(in_channels, out_channels, stride, shortcut)
        self.relu = nn.ReLU()
        shapes = self.shapes(in_channels, mid_channels, out_channels, kernel, stride)
        branch: dict[str, nn.Module] = {}
        for number, shape in enumerate(shapes, start=1):
            branch[f"conv{number}"] = convolution(*shape)
            branch[f"bn{number}"] = nn.BatchNorm2d(shape[1])
            branch[f"relu{number}"] = nn.ReLU()
        branch.popitem()  # the ReLU after the last convolution follows the sum
        self._branch = tuple(branch)
        for name, module in branch.items():
            self.add_module(name, module)

    @staticmethod
    @abstractmethod
    def shapes(before: int, mid: int | None, after: int, kernel: int, stride: int) -> list[Shape]:
        """Channels in and out, kernel and stride of the branch's convolutions, in order."""

    def preactivation(self, x: Tensor) -> Tensor:
        """Branch plus shortcut: ``(B, in_channels, H, W)`` to ``(B, out_channels, H', W')``."""
        y = x
        for name in self._branch:
            y = self.get_submodule(name)(y)
        return cast(Tensor, y + self.shortcut(x))

    def forward(self, x: Tensor) -> Tensor:
        """Shapes as in :meth:`preactivation`."""
        return cast(Tensor, self.relu(self.preactivation(x)))


class BasicBlock(ResidualBlock):
    """Convolutions K x K with the stride, then K x K; ``out_channels`` between them."""

    @staticmethod
    def shapes(before: int, mid: int | None, after: int, kernel: int, stride: int) -> list[Shape]:
        """See `ResidualBlock`."""
        mid = mid or after
        return [(before, mid, kernel, stride), (mid, after, kernel, 1)]


class Bottleneck(ResidualBlock):
    """Convolutions 1 x 1, K x K with the stride, 1 x 1; ``out_channels / 4`` between them."""

    @staticmethod
    def shapes(before: int, mid: int | None, after: int, kernel: int, stride: int) -> list[Shape]:
        """See `ResidualBlock`."""
        mid = mid or max(1, after // 4)
        return [(before, mid, 1, 1), (mid, mid, kernel, stride), (mid, after, 1, 1)]


class Blocks(NamedTuple):
    """A stage: ``depth`` blocks that give ``width`` channels; the first one has the stride."""

    block: type[ResidualBlock]
    depth: int
    width: int
    stride: int
    kernel: int = 3
    mid_channels: int | None = None


class StagedNetwork(PooledNetwork):
    """Stem, stages of residual blocks, global average pooling, linear classifier.

    Its parts are ``conv1 bn1 relu pool layer1 ... layerN fc``. The ``stem`` is ``small``, a 3 x 3
    convolution, or ``imagenet``, 7 x 7 with stride 2 and then 3 x 3 max-pooling with stride 2 (He
    et al., CVPR 2016, table 1).

    Raises:
        UserError: For another stem.
    """

    def __init__(
        self,
        stem_width: int,
        stages: Sequence[Blocks],
        num_classes: int = 10,
        in_channels: int = 3,
        *,
        stem: str = "small",
        shortcut: str = "B",
        parts: PartMaker | None = None,
    ) -> None:
        super().__init__()
        parts = parts or new_part
        kernel, stride = STEMS[choice("network.stem", stem, STEMS)]
        channels, layers = stem_width, []  # made first: what torch draws for it comes first
        for number, (block, depth, width, first, size, middle) in enumerate(stages, 1):
            settings = {"kernel": size, "mid_channels": middle, "shortcut": shortcut}
            shapes = [(channels, width, first), *[(width, width, 1)] * (depth - 1)]
            blocks = [
                parts(f"layer{number}.{place}", block, *shape, **settings)
                for place, shape in enumerate(shapes)
            ]
            layers.append(nn.Sequential(*blocks))
            channels = width
        self.conv1 = parts("conv1", convolution, in_channels, stem_width, kernel, stride)
        self.bn1 = parts("bn1", nn.BatchNorm2d, stem_width)
        self.relu = nn.ReLU()
        self.pool = nn.MaxPool2d(3, 2, 1) if stem == "imagenet" else nn.Identity()
        for number, layer in enumerate(layers, start=1):
            self.add_module(f"layer{number}", layer)
        self.fc = parts("fc", nn.Linear, channels, num_classes)

    @property
    def stages(self) -> tuple[nn.Sequential, ...]:
        """``layer1 ... layerN``, each a sequence of residual blocks."""
        return tuple(part for part in self.children() if isinstance(part, nn.Sequential))

    def block_of(self, name: str) -> int | None:
        """The number of the block that a module is in, by the module's name; 0 for the stem."""
        first, _, rest = name.partition(".")
        if not first.startswith("layer"):
            return 0 if first == "conv1" else None
        before = sum(len(stage) for stage in self.stages[: int(first.removeprefix("layer")) - 1])
        return before + int(rest.partition(".")[0])

    def stem(self, images: Tensor) -> Tensor:
        """The input of the first stage, ``(B, stem_width, H', W')``."""
        return cast(Tensor, self.pool(self.relu(self.bn1(self.conv1(images)))))

    def forward(self, images: Tensor) -> Tensor:
        """See `PooledNetwork`; a plain pass, in which every module is called."""
        x = self.stem(images)
        for stage in self.stages:
            x = stage(x)
        return cast(Tensor, self.fc(x.mean((2, 3))))

    def outputs(self, images: Tensor, blocks: list[Tensor] | None = None) -> NetworkOutputs:
        """See `Network`.

        The first blocks, whose preactivations are in ``blocks``, are not run: those a network with
        the same first layers and parameters gave for the same images. Those of the others are
        appended.
        """
        known, number = list(blocks or ()), 0
        maps, preactivations = list[Tensor](), list[Tensor]()
        x = images if known else self.stem(images)
        for stage in self.stages:
            *_, last = stage
            for block in cast(Iterable[ResidualBlock], stage):
                old = number < len(known)
                before = known[number] if old else block.preactivation(x)
                number += 1
                if blocks is not None and not old:
                    blocks.append(before)
                if block is last or number >= len(known):  # else nothing reads it
                    x = block.relu(before)
            maps.append(x)
            preactivations.append(before)
        return self.pooled(maps, preactivations)


BLOCKS: dict[str, type[ResidualBlock]] = {"basic": BasicBlock, "bottleneck": Bottleneck}


class CifarResNet(StagedNetwork):
    """ResNet for small images (He et al., CVPR 2016, section 4.2).

    Every stage but the first halves the resolution. ResNet-(6n+2) has depths ``n, n, n`` and
    widths ``16, 16, 32, 64``, of the stem and of each stage. CRD's ResNet-8x4 and 32x4 (Tian et
    al., ICLR 2020) have depths of 1 and 5 and widths ``32, 64, 128, 256``. ``block`` is
    ``basic`` or ``bottleneck``; ``shortcut``: see `make_shortcut`.

    Raises:
        UserError: Where depths and widths do not fit together, or of an unknown block or shortcut.
    """

    def __init__(
        self,
        depths: Sequence[int],
        widths: Sequence[int],
        shortcut: str = "B",
        num_classes: int = 10,
        in_channels: int = 3,
        *,
        block: str = "basic",
        parts: PartMaker | None = None,
    ) -> None:
        kind, count = BLOCKS[choice("network.block", block, BLOCKS)], len(depths)
        if not count or min(depths) < 1:
            raise UserError(
                f"network.depths: {list(depths)} must be one number of blocks >= 1 a stage"
            )
        if len(widths) != count + 1 or min(widths) < 1:
            raise UserError(
                f"network.widths: {list(widths)} must be {count + 1} numbers >= 1, one for the "
                f"stem and one for each of the {count} stages of network.depths"
            )
        strides = [1, *[2] * (count - 1)]
        stages = [*map(Blocks, repeat(kind), depths, widths[1:], strides)]
        super().__init__(
            widths[0], stages, num_classes, in_channels, shortcut=shortcut, parts=parts
        )
        self.layout, self.option = (widths[0], stages, num_classes), shortcut


class WideBlock(nn.Module):
    """Two 3 x 3 convolutions, each after its BatchNorm and ReLU (He et al., ECCV 2016).

    Where the width changes, the shortcut is a 1 x 1 convolution of the *activated* input.
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
    distils from the sums. The depth d is 6n + 4 with n blocks a group; with the width k groups have
    16k, 32k and 64k channels, the stem 16.

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
        """A plain pass, in which every module is called; see `PooledNetwork`."""
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
        before = self.bn1(x)
        return self.pooled([*maps, self.relu(before)], [*preactivations, before])
