"""Residual blocks, and the network that stacks them in stages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, cast

from torch import Tensor, nn
from torch.nn import functional

from diswot.checks import choice
from diswot.errors import UserError
from diswot.models.outputs import NetworkOutputs, PooledNetwork

__all__ = ["BasicBlock", "Bottleneck", "PaddedShortcut", "ResidualBlock", "StagedNetwork"]
__all__ += ["convolution", "make_shortcut", "make_stage"]

_STEMS = {"small": (3, 1), "imagenet": (7, 2)}
"""Kernel and stride."""

Shape = tuple[int, int, int, int]


def convolution(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """A convolution without bias; with an odd kernel and stride 1 it keeps the size of a map."""
    return nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)


class ResidualBlock(nn.Module, ABC):
    """A residual branch plus a shortcut, then a ReLU (He et al., CVPR 2016).

    The branch is ``conv1 bn1 relu1 conv2 bn2 ...`` with an odd ``kernel`` K and ``mid_channels``
    between the convolutions, by default as the block says. Every ReLU is a module of its own and
    none works in place, so that hooks see each of them. ``shortcut``: see :func:`make_shortcut`.
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
        return y + cast(Tensor, self.shortcut(x))

    def forward(self, x: Tensor) -> Tensor:
        """The block's output; shapes as in :meth:`preactivation`."""
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
    BatchNorm as members ``conv`` and ``bn`` (CRD's CIFAR-100 protocol).

    Raises:
        UserError: For any other option, or for ``A`` where channels shrink.
    """
    if option not in ("A", "B"):
        raise UserError(f"network.shortcut: {option!r} is unknown; allowed are A and B")
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    if option == "A":
        return PaddedShortcut(in_channels, out_channels, stride)
    conv = convolution(in_channels, out_channels, 1, stride)
    return nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(out_channels)))


def make_stage(
    block: type[ResidualBlock], depth: int, before: int, after: int, stride: int, **settings: Any
) -> list[ResidualBlock]:
    """``depth`` blocks, from ``before`` to ``after`` channels; the first one has the stride."""
    shapes = [(before, after, stride), *[(after, after, 1)] * (depth - 1)]
    return [block(*shape, **settings) for shape in shapes]


class StagedNetwork(PooledNetwork):
    """Stem, stages of residual blocks, global average pooling, linear classifier.

    Its parts are ``conv1 bn1 relu pool layer1 ... layerN fc``.

    Args:
        stem_width: Channels of the stem convolution, which the first block takes.
        stages: Blocks of each stage, in order.
        stem: ``small``, a 3 x 3 convolution, or ``imagenet``, 7 x 7 with stride 2 and then 3 x 3
            max-pooling with stride 2 (He et al., CVPR 2016, table 1). UserError for another one.
    """

    def __init__(
        self,
        stem_width: int,
        stages: Sequence[Sequence[ResidualBlock]],
        num_classes: int = 10,
        in_channels: int = 3,
        stem: str = "small",
    ) -> None:
        super().__init__()
        kernel, stride = _STEMS[choice("network.stem", stem, _STEMS)]
        self.conv1 = convolution(in_channels, stem_width, kernel, stride)
        self.bn1 = nn.BatchNorm2d(stem_width)
        self.relu = nn.ReLU()
        self.pool = nn.MaxPool2d(3, 2, 1) if stem == "imagenet" else nn.Identity()
        for number, blocks in enumerate(stages, start=1):
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
        self.fc = nn.Linear(stages[-1][-1].out_channels, num_classes)

    @property
    def stages(self) -> tuple[nn.Sequential, ...]:
        """The stages ``layer1 ... layerN``, each a sequence of residual blocks."""
        layers = (part for name, part in self.named_children() if name.startswith("layer"))
        return cast("tuple[nn.Sequential, ...]", tuple(layers))

    def stem(self, images: Tensor) -> Tensor:
        """The input of the first stage, ``(B, stem_width, H', W')``."""
        return cast(Tensor, self.pool(self.relu(self.bn1(self.conv1(images)))))

    def forward(self, images: Tensor) -> Tensor:
        """See `PooledNetwork`; a plain pass, in which every module is called."""
        x = self.stem(images)
        for stage in self.stages:
            x = stage(x)
        return cast(Tensor, self.fc(x.mean((2, 3))))

    def outputs(self, images: Tensor, known: Sequence[Tensor] = ()) -> NetworkOutputs:
        """See `Network`.

        Args:
            images: ``(B, in_channels, H, W)``, normalised.
            known: Preactivations of the first stages, which are then not run: those a network
                with the same first layers and parameters gave for the same images.
        """
        maps, preactivations = list[Tensor](), list(known)
        x = images if known else self.stem(images)
        for number, stage in enumerate(self.stages):
            *body, last = cast(Iterable[ResidualBlock], stage)
            if number >= len(known):
                for block in body:
                    x = block(x)
                preactivations.append(last.preactivation(x))
            x = last.relu(preactivations[number])
            maps.append(x)
        return self.pooled(maps, preactivations)
