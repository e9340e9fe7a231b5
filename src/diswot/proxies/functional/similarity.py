"""Similarity of teacher and student: of classes (semantic) and of samples (relation).

A similarity is at most 0, and 0 for equal inputs; shapes that differ raise `ValueError`.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "cam_matrix",
    "cam_similarity",
    "channel_similarity",
    "classifier_gradient",
    "image_map_matrix",
    "relation_matrix",
    "relation_similarity",
]

FLOOR = 1e-12
"""Least norm a row is divided by in the released code; part of the published definition."""


def classifier_gradient(logits: Tensor, embedding: Tensor, labels: Tensor) -> Tensor:
    """Gradient of the mean cross-entropy by the classifier: ``(softmax(z) − onehot(y))ᵀ p / B``.

    Logits z are ``(B, K)``, the classifier's input p is ``(B, C)``, labels y ``(B,)`` are integers
    below K; the gradient is ``(K, C)``, without a backward pass.

    >>> embedding = torch.tensor([[4.0, 2.0]])
    >>> classifier_gradient(torch.zeros(1, 2), embedding, labels=torch.tensor([0]))
    tensor([[-2., -1.],
            [ 2.,  1.]])
    """
    error = logits.softmax(dim=1) - F.one_hot(labels, logits.shape[1]).to(logits.dtype)
    return error.T @ embedding / logits.shape[0]


def channel_similarity(teacher: Tensor, student: Tensor, *, floor: float = FLOOR) -> Tensor:
    """DisWOT's semantic similarity as released (``channel`` form), in O(K·C).

    Teacher and student are `classifier_gradient`s ``(K, C)``. For every class the ``(C, C)`` outer
    product ``g_k g_kᵀ`` of the gradient with itself, rows divided by max(norm, floor); minus the
    squared difference of teacher and student summed over all entries and divided by K·C. Row i of
    class k has the norm ``|g_ki| ‖g_k‖``, so divided it is ``α_ki g_k`` with
    ``α_ki = g_ki / max(|g_ki| ‖g_k‖, floor)``, and the sum is
    ``Σ_ki (α^T)²‖g^T_k‖² + (α^S)²‖g^S_k‖² − 2 α^T α^S (g^T_k · g^S_k)``. A floor of 0 normalises
    exactly.

    Source: Dong et al., CVPR 2023, equation 3 and the released code.

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
    """Class-by-class similarity ``M Mᵀ``, ``(K, K)``, of class activation maps.

    ``M_n = vec_{b,hw}(Σ_c w_nc A_bc)``, L2-normalised (Dong et al., CVPR 2023, section 3.1), with
    the map before global average pooling A ``(B, C, H, W)`` and the classifier's weight w ``(K,
    C)``.

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

    Of a `cam_matrix` ``(K, K)`` each; width and map size are free.

    >>> cam_similarity(torch.eye(2), torch.ones(2, 2))
    tensor(-0.5000)
    """
    return _minus_squared_error("class", teacher, student)


def image_map_matrix(features: Tensor, weight: Tensor, *, rectified: bool = False) -> Tensor:
    """Image-by-image cosine similarity ``(B, B)`` of class activation maps.

    These are ``M_bn = Σ_c w_nc A_bc``. An image is all its maps side by side, ``vec_{n,hw}(M_bn)``,
    or, ``rectified``, what they add up to, ``vec_hw(Σ_n max(M_bn, 0))``. A ``(B, C, H, W)`` and w
    ``(K, C)`` are those of `cam_matrix`.

    One reading of "inter-relation of accumulated Grad-CAM maps", as articles on Dong et al., CVPR
    2023, describe the semantic similarity; the released code has no such form.

    >>> image_map_matrix(torch.tensor([[1.0, 0], [1, 1]]).view(2, 2, 1, 1), torch.eye(2))
    tensor([[1.0000, 0.7071],
            [0.7071, 1.0000]])
    """
    maps = torch.einsum("kc,bchw->bkhw", weight, features)
    vectors = maps.relu().sum(1) if rectified else maps
    rows = F.normalize(vectors.flatten(1), dim=1, eps=1e-12)
    return rows @ rows.T


def relation_matrix(features: Tensor, *, normalise: str = "after") -> Tensor:
    """Sample-by-sample Gram matrix ``A Aᵀ``, ``(B, B)``, its rows divided by max(norm, 1e-12).

    A are features ``(B, C, H, W)`` or ``(B, D)``, flattened. ``normalise="before"`` divides the
    rows of A instead: cosines of samples, in which how strongly a network answers has no part.

    >>> relation_matrix(torch.tensor([[3.0, 4.0], [4.0, -3.0]]))
    tensor([[1., 0.],
            [0., 1.]])
    """
    flat = features.flatten(1)
    if normalise == "before":
        flat = F.normalize(flat, dim=1, eps=1e-12)
        return flat @ flat.T
    return F.normalize(flat @ flat.T, dim=1, eps=1e-12)


def relation_similarity(teacher: Tensor, student: Tensor) -> Tensor:
    """DisWOT's relation similarity ``M_r = −‖G_T − G_S‖²_F / B²`` (equation 4).

    The negative of similarity-preserving distillation's loss (Tung & Mori, ICCV 2019), of a
    `relation_matrix` ``(B, B)`` each.

    The student sees two samples as alike that the teacher tells apart.

    >>> relation_similarity(relation_matrix(torch.eye(2)), relation_matrix(torch.ones(2, 5)))
    tensor(-0.2929)
    """
    return _minus_squared_error("relation", teacher, student)


def _row_scale(gradient: Tensor, floor: float) -> Tensor:
    """α of `channel_similarity`, ``(K, C)``; 0 where the gradient is 0."""
    norms = gradient.abs() * gradient.norm(dim=1, keepdim=True)
    tiny = torch.finfo(gradient.dtype).tiny  # an exact zero stays zero, whatever the floor
    return torch.div(gradient, norms.clamp_min(max(floor, tiny)))


def _minus_squared_error(kind: str, teacher: Tensor, student: Tensor) -> Tensor:
    if teacher.shape != student.shape:
        raise ValueError(f"{kind} matrices of {tuple(teacher.shape)} and {tuple(student.shape)}")
    return -torch.sum((teacher - student) ** 2) / teacher.numel()
