"""Semantic similarity: do two networks look at the same things for the same classes?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

__all__ = [
    "FLOOR",
    "ClassGradient",
    "cam_matrix",
    "cam_similarity",
    "channel_similarity",
    "classifier_gradient",
]

FLOOR = 1e-12
"""Least norm a row is divided by in the released code; part of the published definition."""


@dataclass(frozen=True)
class ClassGradient:
    """Gradient of the mean cross-entropy with respect to the classifier's weight.

    Attributes:
        value: ``(K, C)``.
    """

    value: Tensor

    def row_scale(self, floor: float) -> Tensor:
        """What the rows of each class's outer product ``g_k g_kᵀ`` are scaled by, times g_k.

        Row i of class k is ``g_ki g_k`` and has the norm ``|g_ki| ‖g_k‖``; divided by
        max(norm, floor) it is ``α_ki g_k`` with ``α_ki = g_ki / max(|g_ki| ‖g_k‖, floor)``.

        Returns:
            α, ``(K, C)``; 0 where the gradient is 0.
        """
        g = self.value
        norms = g.abs() * g.norm(dim=1, keepdim=True)
        tiny = torch.finfo(g.dtype).tiny  # an exact zero stays zero, whatever the floor
        scale: Tensor = g / norms.clamp_min(max(floor, tiny))
        return scale


def classifier_gradient(logits: Tensor, embedding: Tensor, labels: Tensor) -> ClassGradient:
    """The gradient in closed form, ``(softmax(z) − onehot(y))ᵀ p / B``: no backward pass.

    Args:
        logits: ``(B, K)``.
        embedding: Classifier's input, ``(B, C)``.
        labels: ``(B,)``, integers below K.
    """
    error = logits.softmax(dim=1) - F.one_hot(labels, logits.shape[1]).to(logits.dtype)
    return ClassGradient(error.T @ embedding / logits.shape[0])


def channel_similarity(
    teacher: ClassGradient, student: ClassGradient, *, floor: float = FLOOR
) -> Tensor:
    """DisWOT's semantic similarity as released (``channel`` form), in O(K·C).

    For every class the ``(C, C)`` outer product of the gradient with itself, rows divided by
    max(norm, floor); the squared difference of teacher and student summed over all entries and
    divided by K·C. With ``α`` of `ClassGradient.row_scale` an entry is ``α_ki g_kj``, so the sum
    is ``Σ_ki (α^T)²‖g^T_k‖² + (α^S)²‖g^S_k‖² − 2 α^T α^S (g^T_k · g^S_k)``.

    Args:
        teacher: ``(K, C)``.
        student: ``(K, C)``.
        floor: Least norm of a row; 0 normalises exactly.

    Returns:
        Scalar, at most 0; 0 for equal gradients.

    Raises:
        ValueError: Another number of classes or channels.
    """
    g_t, g_s = teacher.value, student.value
    if g_t.shape != g_s.shape:
        raise ValueError(f"classifiers of {tuple(g_t.shape)} and {tuple(g_s.shape)}, K and C")
    a_t, a_s = teacher.row_scale(floor), student.row_scale(floor)
    own_t = (a_t**2).sum(1) * (g_t**2).sum(1)
    own_s = (a_s**2).sum(1) * (g_s**2).sum(1)
    cross = (a_t * a_s).sum(1) * (g_t * g_s).sum(1)
    # For equal gradients rounding can leave a difference just below zero.
    return -(own_t + own_s - 2 * cross).sum().clamp_min(0) / g_t.numel()


def cam_matrix(features: Tensor, weight: Tensor) -> Tensor:
    """Class-by-class similarity of class activation maps.

    ``M_n = vec_{b,hw}(Σ_c w_nc A_bc)``, L2-normalised; the result is ``M Mᵀ``
    (Dong et al., CVPR 2023, section 3.1).

    Args:
        features: Map before global average pooling, ``(B, C, H, W)``.
        weight: Classifier's weight, ``(K, C)``.

    Returns:
        ``(K, K)``.
    """
    channels = features.movedim(1, 0).flatten(1)
    # M Mᵀ = w (A Aᵀ) wᵀ: the maps themselves, K × B·H·W, are never built.
    gram = weight @ (channels @ channels.T) @ weight.T
    length = gram.diagonal().clamp_min(1e-24).sqrt()  # at least 1e-12; finite slope at zero
    return gram / torch.outer(length, length)


def cam_similarity(teacher: Tensor, student: Tensor) -> Tensor:
    """DisWOT's semantic similarity as described in the paper, ``−‖C_T − C_S‖²_F / K²``.

    Args:
        teacher: `cam_matrix` of the teacher, ``(K, K)``; its width and map size are free.
        student: The student's, ``(K, K)``.

    Returns:
        Scalar, at most 0; 0 for equal matrices.

    Raises:
        ValueError: Another number of classes.
    """
    if teacher.shape != student.shape:
        raise ValueError(f"class matrices of {tuple(teacher.shape)} and {tuple(student.shape)}")
    return -torch.sum((teacher - student) ** 2) / teacher.numel()
