"""A network of residual stages: the skeleton of ResNets and of the ResNet-like search spaces."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

from torch import Tensor, nn

from diswot.checks import choice
from diswot.models.blocks import ResidualBlock
from diswot.models.outputs import NetworkOutputs

__all__ = ["StagedNetwork"]

_STEMS = {"small": (3, 1), "imagenet": (7, 2)}
"""Kernel and stride."""


class StagedNetwork(nn.Module):
    """Stem, stages of residual blocks, global average pooling, linear classifier.

    Its parts are ``conv1 bn1 relu pool layer1 ... layerN fc``. It shows its inside without hooks
    (:meth:`outputs`) and builds under ``torch.device("meta")`` too.

    Args:
        stem_width: Output channels of the stem convolution.
        stages: Blocks of each stage, in order; the first block of the first stage takes
            ``stem_width`` channels.
        num_classes: Rows of the classifier.
        in_channels: Channels of the images.
        stem: ``small``, a 3 x 3 convolution, or ``imagenet``, 7 x 7 with stride 2 and then 3 x 3
            max-pooling with stride 2 (He et al., CVPR 2016, table 1).

    Raises:
        UserError: For another stem.
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
        self.conv1 = nn.Conv2d(
            in_channels, stem_width, kernel, stride, padding=kernel // 2, bias=False
        )
        self.bn1 = nn.BatchNorm2d(stem_width)
        self.relu = nn.ReLU()
        self.pool = nn.MaxPool2d(3, 2, 1) if stem == "imagenet" else nn.Identity()
        self._stage_names = tuple(f"layer{number}" for number, _ in enumerate(stages, start=1))
        for name, blocks in zip(self._stage_names, stages, strict=True):
            self.add_module(name, nn.Sequential(*blocks))
        self.fc = nn.Linear(stages[-1][-1].out_channels, num_classes)

    @property
    def stages(self) -> tuple[nn.Sequential, ...]:
        """The stages ``layer1 ... layerN``, each a sequence of residual blocks."""
        return tuple(cast(nn.Sequential, self.get_submodule(name)) for name in self._stage_names)

    @property
    def classifier(self) -> nn.Linear:
        """The last linear layer, ``(num_classes, C)`` weights."""
        return self.fc

    def stem(self, images: Tensor) -> Tensor:
        """What enters the first stage, ``(B, stem_width, H', W')``."""
        return cast(Tensor, self.pool(self.relu(self.bn1(self.conv1(images)))))

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(B, num_classes)`` of ``(B, in_channels, H, W)`` images."""
        x = self.stem(images)
        for stage in self.stages:
            x = stage(x)
        return cast(Tensor, self.fc(_pool(x)))

    def outputs(self, images: Tensor, known: Sequence[Tensor] = ()) -> NetworkOutputs:
        """Stage maps, embedding and logits from one forward pass.

        Args:
            images: ``(B, in_channels, H, W)``, normalised.
            known: Preactivations of the first stages, which are then not run: those a network
                with the same first layers and parameters gave for the same images.
        """
        maps: list[Tensor] = []
        preactivations: list[Tensor] = []
        x = images if known else self.stem(images)
        for number, stage in enumerate(self.stages):
            *body, last = cast(Iterable[ResidualBlock], stage)
            if number < len(known):
                preactivations.append(known[number])
            else:
                for block in body:
                    x = block(x)
                preactivations.append(last.preactivation(x))
            x = last.relu(preactivations[-1])
            maps.append(x)
        embedding = _pool(x)
        return NetworkOutputs(tuple(maps), tuple(preactivations), embedding, self.fc(embedding))


def _pool(x: Tensor) -> Tensor:
    return x.mean((2, 3))
