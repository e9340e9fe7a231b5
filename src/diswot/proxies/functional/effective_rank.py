"""Effective rank: in how many directions a layer tells samples apart."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["centred_gram", "log_effective_rank"]


def centred_gram(features: Tensor) -> Tensor:
    """Sample-by-sample Gram matrix of what is left after the mean over samples is taken off.

    Args:
        features: ``(B, C, H, W)`` or ``(B, D)``.

    Returns:
        ``A Aᵀ``, ``(B, B)``, with ``A`` of zero column means.
    """
    flat = features.movedim(1, -1).flatten(1)  # a view in channels_last; the order is free
    centred = flat - flat.mean(0)
    return centred @ centred.T


def log_effective_rank(grams: Tensor) -> Tensor:
    """Entropy of the eigenvalues, normalised to sum to one: the logarithm of the effective rank.

    Source: Roy & Vetterli, "The effective rank: a measure of effective dimensionality",
    EUSIPCO 2007, definition 1.

    Args:
        grams: Symmetric and positive semidefinite, ``(..., B, B)``.

    Returns:
        ``(...)`` in float64, from 0 to ln B; NaN for a matrix of zeros, which has no rank.
    """
    eigenvalues = torch.linalg.eigvalsh(grams.double()).clamp_min(0)
    shares = eigenvalues / eigenvalues.sum(-1, keepdim=True)
    entropy: Tensor = torch.special.entr(shares).sum(-1)
    return entropy
