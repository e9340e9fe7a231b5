"""Losses on feature maps."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from diswot.distillers.functional._shapes import equal_shapes, maps_of_one_batch, one_size

__all__ = ["at", "fitnet", "nst"]


def fitnet(teacher: Tensor, student: Tensor) -> Tensor:
    """Hint of FitNets: the mean squared error over everything.

    Source: Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015. The regressor that makes
    widths equal is the caller's.

    Args:
        teacher: Features of any shape.
        student: Features of the same shape.

    Returns:
        Scalar, at least 0; 0 for equal features.

    Raises:
        ValueError: Shapes that differ.
    """
    equal_shapes("fitnet", teacher, student)
    return F.mse_loss(student, teacher)


def at(teacher: Tensor, student: Tensor, *, power: float = 2) -> Tensor:
    """Attention transfer of one stage: ``mean_{b,hw} (Q_T − Q_S)²``.

    ``Q`` is ``mean_c A_c^p`` flattened over space and divided by its L2 norm. The larger map is
    average-pooled to the size of the smaller one first.

    Source: Zagoruyko & Komodakis, "Paying More Attention to Attention", ICLR 2017.

    Args:
        teacher: Map ``(B, C, H, W)``; its width is free.
        student: Map ``(B, C', H', W')``.
        power: p, above 0. Maps that did not end in a ReLU need an even one, or attention has
            signs (as in the released code).

    Returns:
        Scalar, at least 0; 0 for equal maps.

    Raises:
        ValueError: No maps, batches that differ, or a power that is not positive.
    """
    maps_of_one_batch("at", teacher, student)
    if power <= 0:
        raise ValueError(f"power={power} of at: give a positive number")
    teacher, student = one_size(teacher, student)
    return F.mse_loss(_attention(student, power), _attention(teacher, power))


def nst(teacher: Tensor, student: Tensor) -> Tensor:
    """Neuron selectivity transfer of one stage: squared MMD of its channels, kernel ``(aᵀb)²``.

    ``mean k(t, t) + mean k(s, s) − 2 mean k(t, s)`` over images and pairs of channels, each
    channel's map divided by its L2 norm. The larger map is average-pooled to the size of the
    smaller one first.

    Source: Huang & Wang, "Like What You Like: Knowledge Distill via Neuron Selectivity Transfer",
    2017, the polynomial kernel with d = 2 and c = 0.

    Args:
        teacher: Map ``(B, C, H, W)``; its width is free.
        student: Map ``(B, C', H', W')``.

    Returns:
        Scalar, at least 0 up to rounding; 0 for equal maps.

    Raises:
        ValueError: No maps, or batches that differ.
    """
    maps_of_one_batch("nst", teacher, student)
    teacher, student = (
        F.normalize(maps.flatten(2), dim=2, eps=1e-12) for maps in one_size(teacher, student)
    )
    own = _selectivity(teacher, teacher) + _selectivity(student, student)
    return own - 2 * _selectivity(teacher, student)


def _attention(maps: Tensor, power: float) -> Tensor:
    return F.normalize(maps.pow(power).mean(dim=1).flatten(1), dim=1, eps=1e-12)


def _selectivity(one: Tensor, other: Tensor) -> Tensor:
    return torch.mean((one @ other.mT) ** 2)
