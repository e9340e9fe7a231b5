"""NWOT: how differently a network's ReLUs fire for different samples."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["activation_agreement", "log_determinant"]


def activation_agreement(inputs: Tensor) -> Tensor:
    """For every two samples, how many units are on in both or off in both.

    ``X Xᵀ + (1 − X)(1 − X)ᵀ`` with ``X = [input > 0]``, by one matrix product.

    Args:
        inputs: What a ReLU is given, ``(B, ...)``.

    Returns:
        ``(B, B)`` in float64: exact integers.
    """
    flat = inputs.movedim(1, -1).flatten(1)  # a view in channels_last; the order is free
    on = torch.gt(flat, 0, out=torch.empty_like(flat))  # exact in float32 below 2²⁴ units
    both = (on @ on.T).double()
    counts = both.diagonal()
    # XXᵀ + (1 − X)(1 − X)ᵀ = 2 XXᵀ − x1ᵀ − 1xᵀ + D with x the number of units that are on
    return 2 * both - counts[:, None] - counts[None, :] + flat.shape[1]


def log_determinant(kernel: Tensor) -> Tensor:
    """``ln |det K|``.

    Args:
        kernel: ``(B, B)``.

    Returns:
        Scalar; −inf where two samples cannot be told apart.
    """
    logabsdet: Tensor = torch.linalg.slogdet(kernel).logabsdet
    return logabsdet
