"""Similarity of teacher and student: of classes (semantic) and of samples (relation)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

__all__ = [
    "cam_matrix",
    "cam_similarity",
    "channel_similarity",
    "classifier_gradient",
    "relation_matrix",
    "relation_similarity",
]

FLOOR = 1e-12
"""Least norm a row is divided by in the released code; part of the published definition."""


def classifier_gradient(logits: Tensor, embedding: Tensor, labels: Tensor) -> Tensor:
    """Gradient of the mean cross-entropy by the classifier's weight, without a backward pass.

    In closed form ``(softmax(z) − onehot(y))ᵀ p / B``.

    Args:
        logits: z, ``(B, K)``.
        embedding: p, the classifier's input, ``(B, C)``.
        labels: y, ``(B,)``, integers below K.

    Returns:
        ``(K, C)``.

    >>> embedding = torch.tensor([[4.0, 2.0]])
    >>> classifier_gradient(torch.zeros(1, 2), embedding, labels=torch.tensor([0]))
    tensor([[-2., -1.],
            [ 2.,  1.]])
    """
    error = logits.softmax(dim=1) - F.one_hot(labels, logits.shape[1]).to(logits.dtype)
    return error.T @ embedding / logits.shape[0]


def channel_similarity(teacher: Tensor, student: Tensor, *, floor: float = FLOOR) -> Tensor:
    """DisWOT's semantic similarity as released (``channel`` form), in O(K·C).

    For every class the ``(C, C)`` outer product ``g_k g_kᵀ`` of the gradient with itself, rows
    divided by max(norm, floor); the squared difference of teacher and student summed over all
    entries and divided by K·C. Row i of class k has the norm ``|g_ki| ‖g_k‖``, so divided it is
    ``α_ki g_k`` with ``α_ki = g_ki / max(|g_ki| ‖g_k‖, floor)``, and the sum is
    ``Σ_ki (α^T)²‖g^T_k‖² + (α^S)²‖g^S_k‖² − 2 α^T α^S (g^T_k · g^S_k)``.

    Source: Dong et al., CVPR 2023, equation 3 and the released code.

    Args:
        teacher: `classifier_gradient` of the teacher, ``(K, C)``.
        student: The student's, ``(K, C)``.
        floor: Least norm of a row; 0 normalises exactly.

    Returns:
        Scalar, at most 0; 0 for equal gradients.

    Raises:
        ValueError: Another number of classes or channels.

    Each class looks at a channel of its own; the student has them the other way round.

    >>> channel_similarity(torch.eye(2), torch.eye(2).flip(0))
    tensor(-1.)
    """
    if teacher.shape != student.shape:
        raise ValueError(
            f"classifiers of {tuple(teacher.shape)} and {tuple(student.shape)}, K and C"
        )
    a_t, a_s = _row_scale(teacher, floor), _row_scale(student, floor)
    own_t = (a_t**2).sum(1) * (teacher**2).sum(1)
    own_s = (a_s**2).sum(1) * (student**2).sum(1)
    cross = (a_t * a_s).sum(1) * (teacher * student).sum(1)
    # For equal gradients rounding can leave a difference just below zero.
    return -(own_t + own_s - 2 * cross).sum().clamp_min(0) / teacher.numel()


def cam_matrix(features: Tensor, weight: Tensor) -> Tensor:
    """Class-by-class similarity ``M Mᵀ`` of class activation maps.

    ``M_n = vec_{b,hw}(Σ_c w_nc A_bc)``, L2-normalised (Dong et al., CVPR 2023, section 3.1).

    Args:
        features: Map before global average pooling, ``(B, C, H, W)``.
        weight: Classifier's weight, ``(K, C)``.

    Returns:
        ``(K, K)``.

    >>> cam_matrix(torch.eye(2).view(1, 2, 1, 2), weight=torch.tensor([[1.0, 0], [1, 1]]))
    tensor([[1.0000, 0.7071],
            [0.7071, 1.0000]])
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

    >>> cam_similarity(torch.eye(2), torch.ones(2, 2))
    tensor(-0.5000)
    """
    return _minus_squared_error("class", teacher, student)


def relation_matrix(features: Tensor) -> Tensor:
    """Sample-by-sample Gram matrix with rows of length one.

    Args:
        features: Map before global average pooling, ``(B, C, H, W)`` or ``(B, D)``.

    Returns:
        ``(B, B)``: rows of ``A Aᵀ`` divided by max(norm, 1e-12), where ``A`` is ``(B, CHW)``.

    >>> relation_matrix(torch.tensor([[3.0, 4.0], [4.0, -3.0]]))
    tensor([[1., 0.],
            [0., 1.]])
    """
    flat = features.flatten(1)
    return F.normalize(flat @ flat.T, dim=1, eps=1e-12)


def relation_similarity(teacher: Tensor, student: Tensor) -> Tensor:
    """DisWOT's relation similarity ``M_r = −‖G_T − G_S‖²_F / B²`` (equation 4).

    The negative of similarity-preserving distillation's loss (Tung & Mori, ICCV 2019).

    Args:
        teacher: `relation_matrix` of the teacher, ``(B, B)``.
        student: The student's, ``(B, B)``.

    Returns:
        Scalar, at most 0; 0 for equal matrices.

    Raises:
        ValueError: The batches differ.

    The student sees two samples as alike that the teacher tells apart.

    >>> relation_similarity(relation_matrix(torch.eye(2)), relation_matrix(torch.ones(2, 5)))
    tensor(-0.2929)
    """
    return _minus_squared_error("relation", teacher, student)


def _row_scale(gradient: Tensor, floor: float) -> Tensor:
    """α of `channel_similarity`, ``(K, C)``; 0 where the gradient is 0."""
    norms = gradient.abs() * gradient.norm(dim=1, keepdim=True)
    tiny = torch.finfo(gradient.dtype).tiny  # an exact zero stays zero, whatever the floor
    scale: Tensor = gradient / norms.clamp_min(max(floor, tiny))
    return scale


def _minus_squared_error(kind: str, teacher: Tensor, student: Tensor) -> Tensor:
    if teacher.shape != student.shape:
        raise ValueError(f"{kind} matrices of {tuple(teacher.shape)} and {tuple(student.shape)}")
    return -torch.sum((teacher - student) ** 2) / teacher.numel()
