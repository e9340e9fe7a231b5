"""A trained teacher as training sees it: frozen, folded, outside of all that is saved."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from diswot.models.outputs import Network, NetworkOutputs
from diswot.training.folding import fold_batch_norms

__all__ = ["FrozenTeacher"]


class FrozenTeacher:
    """Runs a teacher in eval mode and without a graph.

    It is no ``nn.Module``, so that it never gets into a checkpoint, an optimiser or DDP.

    Args:
        network: With its trained weights; it is changed (frozen, folded) and moved.
        images: A few images, ``(B, C, H, W)``.
    """

    def __init__(self, network: nn.Module, images: Tensor) -> None:
        network.requires_grad_(False).eval()
        self.folded = fold_batch_norms(network, images)
        self._network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def weight(self) -> Tensor:
        """Weight of the classifier, ``(K, C)``."""
        return cast(Network, self._network).classifier.weight

    def to(self, device: torch.device) -> None:
        """Move it."""
        self._network.to(device)

    @torch.no_grad()
    def __call__(self, images: Tensor, *, logits_only: bool = False) -> NetworkOutputs:
        """One forward pass.

        Args:
            images: ``(B, C, H, W)``, normalised.
            logits_only: Leave stages and embedding empty, which is quicker.
        """
        if logits_only:
            return only_logits(self._network(images))
        return cast(Network, self._network).outputs(images)


def only_logits(logits: Tensor) -> NetworkOutputs:
    """Outputs that hold logits alone."""
    return NetworkOutputs((), (), logits.new_empty(len(logits), 0), logits)
