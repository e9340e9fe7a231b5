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
    signs = torch.where(inputs.flatten(1) > 0, 1.0, -1.0)
    # ±1 products add up to agreements minus disagreements; exact in float32 below 2²⁴ units.
    return (signs.shape[1] + (signs @ signs.T).double()) / 2


def log_determinant(kernel: Tensor) -> Tensor:
    """``ln |det K|``.

    Args:
        kernel: ``(B, B)``.

    Returns:
        Scalar; −inf where two samples cannot be told apart.
    """
    logabsdet: Tensor = torch.linalg.slogdet(kernel).logabsdet
    return logabsdet
