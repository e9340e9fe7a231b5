"""The interface of students and teachers: outputs of one forward pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

__all__ = ["Network", "NetworkOutputs"]


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
    """A classifier that can show its inside; every student and teacher is one.

    Implementations are ``nn.Module`` whose plain ``forward`` returns logits.
    """

    @property
    def classifier(self) -> nn.Linear:
        """The last linear layer, ``(K, C)`` weights."""
        ...

    def outputs(self, images: Tensor) -> NetworkOutputs:
        """Run one forward pass.

        A network whose first stages may be shared with others also takes ``known``, see
        `diswot.models.staged.StagedNetwork.outputs`.

        Args:
            images: ``(B, in_channels, H, W)``, normalised.
        """
        ...

    def __call__(self, images: Tensor) -> Tensor:
        """Logits ``(B, K)`` alone."""
        ...
