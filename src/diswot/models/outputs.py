"""The interface of students and teachers: outputs of one forward pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

__all__ = ["Network", "NetworkOutputs", "PooledNetwork"]


@dataclass(frozen=True)
class NetworkOutputs:
    """Everything proxies and distillers read, from a single forward pass.

    Attributes:
        stages: Feature map of each stage after its last activation, ``(B, C_i, H_i, W_i)``.
            The last one is the map that is average-pooled.
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

        A network whose first stages may be shared with others also takes ``known``, see
        `diswot.models.staged.StagedNetwork.outputs`.
        """

    def __call__(self, images: Tensor) -> Tensor:
        """Logits ``(B, K)`` alone."""


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
