"""The mini-batch a search scores with, and the choice of its images."""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["MiniBatch", "choose"]


@dataclass(frozen=True)
class MiniBatch:
    """Images and their labels.

    Attributes:
        images: normalised images, float32 of shape (B, C, H, W).
        labels: class indices, int64 of shape (B,).
    """

    images: Tensor
    labels: Tensor


def choose(labels: Tensor, size: int, *, balanced: bool, generator: torch.Generator) -> Tensor:
    """Choose ``size`` different images at random.

    Args:
        labels: class of every image, shape (N,).
        size: how many to choose, at most N.
        balanced: take the classes in turn, so that their counts differ by at most one; a class
            with no image left is passed over.
        generator: the only source of randomness.

    Returns:
        Indices of the chosen images, int64 of shape (size,).
    """
    order = torch.randperm(len(labels), generator=generator)
    if balanced:
        order = order[_turns(labels[order], generator).argsort()]
    return order[:size]


def _turns(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Place of every image when classes, in random order, give their images in turn: (N,)."""
    classes, members, counts = torch.unique(labels, return_inverse=True, return_counts=True)
    by_class = members.argsort(stable=True)
    starts = counts.cumsum(0) - counts
    rounds = torch.empty_like(members)
    rounds[by_class] = torch.arange(len(labels)) - starts[members[by_class]]
    class_order = torch.randperm(len(classes), generator=generator)
    return rounds * len(classes) + class_order[members]
