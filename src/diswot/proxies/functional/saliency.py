"""Saliency of weights and channels, and the norms they are compared with."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

__all__ = ["channel_saliency", "exact_sum", "sum_of_norms", "sum_of_products"]


def exact_sum(values: Iterable[Tensor]) -> float:
    """Sum of scalars, rounded once: those that are zero and their order change no bit.

    Args:
        values: Scalars on one device; at least one.
    """
    return math.fsum(torch.stack(list(values)).tolist())


def sum_of_products(
    ones: Iterable[Tensor], others: Iterable[Tensor], *, absolute: bool = False
) -> float:
    """``Σ a·b`` over all elements of paired tensors, or ``Σ |a·b|``.

    Args:
        ones: Any shapes; at least one tensor.
        others: Equal shapes, in the same order.
        absolute: Take the products' absolute values.
    """
    products = (one.double() * other.double() for one, other in zip(ones, others, strict=True))
    return exact_sum((p.abs() if absolute else p).sum() for p in products)


def sum_of_norms(tensors: Iterable[Tensor]) -> float:
    """``Σ ‖t‖₂``, every tensor taken as one vector.

    Args:
        tensors: Any shapes; at least one tensor.
    """
    return exact_sum(tensor.double().norm() for tensor in tensors)


def channel_saliency(output: Tensor, gradient: Tensor) -> Tensor:
    """Fisher information of a gate on each channel: ``½ mean_b (Σ_hw a · da)²``.

    Source: Theis et al., "Faster gaze prediction with dense networks and Fisher pruning", 2018.

    Args:
        output: A layer's, ``(B, C)`` or ``(B, C, H, W)``.
        gradient: Of the mean loss, the same shape.

    Returns:
        ``(C,)`` in float64.
    """
    products = (output * gradient).double()
    if products.ndim > 2:
        products = products.sum(tuple(range(2, products.ndim)))
    return products.square().mean(0) / 2
