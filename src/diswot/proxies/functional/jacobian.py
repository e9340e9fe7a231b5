"""How alike the images' Jacobians are: correlations of rows, and scores of them."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["MANY_CLASSES", "class_correlation", "row_correlation", "spectrum_score"]

MANY_CLASSES = 100
"""With more classes than this, classes are compared instead of added up."""

_FLOOR = 1e-5


def row_correlation(rows: Tensor) -> Tensor:
    """Pearson correlation of every two rows.

    Args:
        rows: One an image, ``(B, ...)``.

    Returns:
        ``(B, B)`` in float64, the diagonal exactly one, all within ±1.

    Raises:
        ValueError: A row is constant, or not finite.
    """
    rows = rows.flatten(1).double()
    centred = rows - rows.mean(1, keepdim=True)
    norms = centred.norm(dim=1, keepdim=True)
    if not bool(torch.isfinite(norms).all()):
        raise ValueError("an image's gradient is not finite")
    if bool((norms == 0).any()):
        raise ValueError("an image's gradient is the same everywhere, so nothing correlates")
    unit = centred / norms
    correlation: Tensor = (unit @ unit.T).clamp(-1, 1).fill_diagonal_(1)
    return correlation


def spectrum_score(correlation: Tensor) -> Tensor:
    """``−Σ_i [ln(v_i + 1e-5) + 1 / (v_i + 1e-5)]`` over the eigenvalues.

    Highest, ``−B``, where no two rows correlate.

    Args:
        correlation: ``(B, B)``, symmetric.

    Returns:
        Scalar.
    """
    shifted: Tensor = torch.linalg.eigvalsh(correlation).clamp_min(0) + _FLOOR
    return -(shifted.log() + shifted.reciprocal()).sum()


def class_correlation(rows: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Correlation of the images of one class, over all classes.

    A class scores ``s_c = Σ_ij ln(|corr_ij| + 1e-5)``, its diagonal included. Up to 100 classes
    give ``Σ_c |s_c|``; more give ``Σ_cd |s_c/n_c − s_d/n_d| / #classes``, over the classes with
    at least two images.

    Args:
        rows: One an image, ``(B, ...)``.
        labels: ``(B,)``.
        num_classes: That there are, not those the labels happen to name.

    Returns:
        Scalar in float64.

    Raises:
        ValueError: No class has two images, or a row is constant or not finite.
    """
    groups = [labels == label for label in sorted(set(labels.tolist()))]
    sizes = [int(group.sum()) for group in groups]
    if max(sizes) < 2:
        raise ValueError(f"no class has two of the {len(labels)} images of the mini-batch")
    logs = (row_correlation(rows).abs() + _FLOOR).log()
    scores = torch.stack([logs[group][:, group].sum() for group in groups])
    if num_classes <= MANY_CLASSES:
        return scores.abs().sum()
    counts = torch.tensor(sizes, dtype=scores.dtype, device=scores.device)
    means = (scores / counts)[counts > 1]
    return (means[:, None] - means).abs().sum() / len(means)
