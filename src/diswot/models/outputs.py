"""The interface of students and teachers: outputs of one forward pass, and what a pass costs."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from diswot.errors import UserError


@dataclass(frozen=True)
class NetworkOutputs:
    """Everything proxies and distillers read, from a single forward pass.

    Attributes:
        stages: Feature map of each stage after its last activation, ``(B, C_i, H_i, W_i)``; the
            last one is average-pooled.
        preactivations: The same maps before that last activation; equal to ``stages`` where a
            stage does not end in an activation.
        embedding: Pooled features, the classifier's input, ``(B, C)``.
        logits: Classifier output, ``(B, K)``.
    """

    stages: tuple[Tensor, ...]
    preactivations: tuple[Tensor, ...]
    embedding: Tensor
    logits: Tensor


@runtime_checkable
class Network(Protocol):
    """A classifier that can show its inside: an ``nn.Module`` whose ``forward`` gives logits."""

    @property
    def classifier(self) -> nn.Linear:
        """The last linear layer, ``(K, C)`` weights."""

    def outputs(self, images: Tensor) -> NetworkOutputs:
        """Run one forward pass of ``(B, in_channels, H, W)`` images, normalised.

        A network whose first blocks may be shared with others also takes ``blocks``, see
        `diswot.models.resnet.StagedNetwork.outputs`.
        """

    def __call__(self, images: Tensor) -> Tensor:
        """Logits ``(B, K)`` alone."""


def checked_network(module: object, setting: str) -> nn.Module:
    """The module that ``setting`` gives, if it is a `Network`; else a `UserError`."""
    if isinstance(module, nn.Module) and all(hasattr(module, n) for n in ("classifier", "outputs")):
        return module
    raise UserError(
        f"{setting} gives a {type(module).__name__}, which has no classifier and outputs(images); "
        "give diswot.models.adapter.AdaptedNetwork(module, stages, classifier) in its place, with "
        "the paths of its stages and of its last linear layer"
    )


class PooledNetwork(nn.Module, ABC):
    """A `Network` that averages its last map and classifies the average with its layer ``fc``."""

    fc: nn.Linear

    @property
    def classifier(self) -> nn.Linear:
        """See `Network`."""
        return self.fc

    @abstractmethod
    def outputs(self, images: Tensor) -> NetworkOutputs:
        """See `Network`."""

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(B, K)`` of ``(B, in_channels, H, W)`` images."""
        return self.outputs(images).logits

    def pooled(self, maps: Sequence[Tensor], before: Sequence[Tensor]) -> NetworkOutputs:
        """The outputs of a pass with these stage maps and preactivations."""
        embedding = maps[-1].mean((2, 3))
        return NetworkOutputs(tuple(maps), tuple(before), embedding, self.fc(embedding))


_FREE_LAYERS = (nn.modules.batchnorm._NormBase, nn.ReLU, nn.ReLU6, nn.Hardswish, nn.SiLU)
"""Modules without MACs that keep the shape; on the meta device they take half the time."""


@dataclass(frozen=True)
class Cost:
    """Trainable parameters, MACs (see `count_flops`) and layers (`count_layers`) of a network."""

    params: int
    flops: int
    layers: int

    def __str__(self) -> str:
        return f"{self.params:,} parameters, {self.flops:,} MACs"


def count_params(network: nn.Module) -> int:
    """Trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def count_layers(network: nn.Module) -> int:
    """Convolutions and linear layers, but for those inside a ``shortcut`` or ``downsample``."""
    return sum(
        isinstance(module, nn.modules.conv._ConvNd | nn.Linear)
        and not {"shortcut", "downsample"} & set(name.split("."))
        for name, module in network.named_modules()
    )


def count_flops(network: nn.Module, image: tuple[int, int, int]) -> int:
    """MACs of convolutions and matrix products for one image ``(in_channels, height, width)``.

    The network may be on any device, the meta device too; its mode and statistics are kept.
    """
    device, training = next(network.parameters()).device, network.training
    free = [m for m in network.modules() if isinstance(m, _FREE_LAYERS) and device.type == "meta"]
    learned = [p for p in network.parameters() if p.requires_grad]
    for module in free:
        module.forward = nn.Identity().forward  # type: ignore[method-assign]
    for parameter in learned:  # the counter follows gradients, and fails where there are none
        parameter.requires_grad_(False)
    network.eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(torch.empty(1, *image, device=device))
    finally:
        network.train(training)
        for module in free:
            del module.forward
        for parameter in learned:
            parameter.requires_grad_(True)
    return int(counter.get_total_flops()) // 2
