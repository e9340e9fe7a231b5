"""Relation similarity: do two networks see the same samples as alike?"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

__all__ = ["relation_matrix", "relation_similarity"]


def relation_matrix(features: Tensor) -> Tensor:
    """Sample-by-sample Gram matrix with rows of length one.

    Args:
        features: Map before global average pooling, ``(B, C, H, W)`` or ``(B, D)``.

    Returns:
        ``(B, B)``: rows of ``A Aᵀ`` divided by max(norm, 1e-12), where ``A`` is ``(B, CHW)``.
    """
    flat = features.flatten(1)
    return F.normalize(flat @ flat.T, dim=1, eps=1e-12)


def relation_similarity(teacher: Tensor, student: Tensor) -> Tensor:
    """DisWOT's relation similarity ``M_r = −‖G_T − G_S‖²_F / B²``.

    The negative of similarity-preserving distillation's loss (Tung & Mori, ICCV 2019).

    Args:
        teacher: `relation_matrix` of the teacher, ``(B, B)``.
        student: The student's, ``(B, B)``.

    Returns:
        Scalar, at most 0; 0 for equal matrices.

    Raises:
        ValueError: The batches differ.
    """
    if teacher.shape != student.shape:
        raise ValueError(f"relation matrices of {tuple(teacher.shape)} and {tuple(student.shape)}")
    return -torch.sum((teacher - student) ** 2) / teacher.numel()
