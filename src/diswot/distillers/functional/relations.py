"""Losses on how the images of a batch relate to each other, of features of any width."""

import torch
from torch import Tensor
from torch.nn import functional as F

from diswot.distillers.functional.maps import equal_shapes, one_batch
from diswot.proxies.functional import relation_matrix, relation_similarity

__all__ = ["cc", "cka", "pkt", "rkd", "sp"]

_LEAST_LENGTH = 1e-12
_LEAST_DISTANCE = 1e-6


def sp(teacher: Tensor, student: Tensor) -> Tensor:
    """Similarity-preserving distillation: ``‖G_T − G_S‖²_F / B²``, minus `relation_similarity`.

    Of features ``(B, ...)`` of any size. Source: Tung & Mori, "Similarity-Preserving Knowledge
    Distillation", ICCV 2019.

    >>> sp(torch.eye(2), torch.ones(2, 5))
    tensor(0.2929)
    """
    one_batch("sp", teacher, student)
    return -relation_similarity(relation_matrix(teacher), relation_matrix(student))


def cka(teacher: Tensor, student: Tensor) -> Tensor:
    """Centred kernel alignment: ``1 − ⟨K_T, K_S⟩_F / (‖K_T‖_F ‖K_S‖_F)``, linear and biased.

    ``K`` is the ``(B, B)`` Gram matrix of the images with rows and columns centred. Features are
    ``(B, ...)`` of any size; the loss is between 0 and 1, and 0 for those that agree up to
    rotation, shift and scale. Features that are all alike align with nothing: 1.

    Source: Kornblith et al., "Similarity of Neural Network Representations Revisited", ICML 2019;
    as a loss in the code of DisWOT (Dong et al., CVPR 2023), where it is called RMI.

    Raises:
        ValueError: Batches that differ, or fewer than two images.

    >>> corner = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> cka(corner, 4 * corner).abs() < 1e-6, cka(corner, corner * torch.tensor([2.0, 1.0]))
    (tensor(True), tensor(0.0932))
    """
    one_batch("cka", teacher, student, least=2)
    centred_t, centred_s = (_centred_gram(maps.flatten(1)) for maps in (teacher, student))
    lengths = torch.linalg.matrix_norm(centred_t) * torch.linalg.matrix_norm(centred_s)
    apart: Tensor = 1 - (centred_t * centred_s).sum() / lengths.clamp_min(_LEAST_LENGTH)
    return apart


def cc(teacher: Tensor, student: Tensor) -> Tensor:
    """Correlation congruence: ``mean_{i<B−1} Σ_d |s_i − t_i|_d |s_{i+1} − t_{i+1}|_d``.

    Of features ``(B, ...)`` of one shape. As in the public code it compares neighbours in the
    batch, so that it depends on the order of the batch, and builds no correlation matrix, as the
    paper does.

    Source: Peng et al., "Correlation Congruence for Knowledge Distillation", ICCV 2019, in the
    form of RepDistiller (Tian et al., ICLR 2020). The embeddings before it are the caller's.

    Raises:
        ValueError: Shapes that differ, or fewer than two images.

    >>> cc(torch.zeros(3, 1), torch.tensor([[1.0], [2.0], [3.0]]))
    tensor(4.)
    """
    equal_shapes("cc", teacher, student)
    one_batch("cc", teacher, student, least=2)
    error = (student - teacher).abs().flatten(1)
    return (error[:-1] * error[1:]).sum(dim=1).mean()


def rkd(
    teacher: Tensor, student: Tensor, *, distance_weight: float = 25.0, angle_weight: float = 50.0
) -> Tensor:
    """Relational distillation: ``w_d mean ℓ(d_T, d_S) + w_a mean ℓ(cos_T, cos_S)``, ℓ smooth L1.

    Distances d of pairs are divided by their mean over different images; cos are the cosines
    between ``x_i − x_j`` and ``x_k − x_j`` of triplets. Means are over all B² and B³ entries, those
    that compare an image with itself included. Features are ``(B, ...)`` of any size; the loss is 0
    for those that agree up to rotation, shift and scale.

    Source: Park et al., "Relational Knowledge Distillation", CVPR 2019.

    Raises:
        ValueError: Batches that differ, or fewer than two images.

    >>> corner = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> rkd(corner, 4 * corner), rkd(corner, corner * torch.tensor([2.0, 1.0]))
    (tensor(0.), tensor(0.6522))
    """
    one_batch("rkd", teacher, student, least=2)
    distance_t, angle_t = _distances_and_angles(teacher.flatten(1))
    distance_s, angle_s = _distances_and_angles(student.flatten(1))
    distance, angle = F.smooth_l1_loss(distance_s, distance_t), F.smooth_l1_loss(angle_s, angle_t)
    return distance_weight * distance + angle_weight * angle


def pkt(teacher: Tensor, student: Tensor, *, eps: float = 1e-7) -> Tensor:
    """Probabilistic knowledge transfer: ``mean_ij P_T log((P_T + ε) / (P_S + ε))``.

    Rows of ``P`` are ``(cos + 1) / 2`` of an image to all images, itself included, divided by
    their sum. The mean over B² makes it B times smaller than the divergence of a row. Features are
    ``(B, ...)`` of any size; ε is also added to lengths.

    Source: Passalis & Tefas, "Learning Deep Representations with Probabilistic Knowledge
    Transfer", ECCV 2018.

    >>> pkt(torch.eye(2), torch.ones(2, 3))
    tensor(0.0283)
    """
    one_batch("pkt", teacher, student)
    p_t, p_s = (_neighbours(features.flatten(1), eps) for features in (teacher, student))
    return torch.mean(p_t * torch.log((p_t + eps) / (p_s + eps)))


def _distances_and_angles(features: Tensor) -> tuple[Tensor, Tensor]:
    """Distances over their mean, ``(B, B)``, and cosines at each image, ``(B, B, B)``."""
    difference = features.unsqueeze(0) - features.unsqueeze(1)
    length = torch.linalg.vector_norm(difference, dim=2)
    images = len(features)
    itself = torch.eye(images, dtype=torch.bool, device=features.device)
    distance = length.clamp_min(_LEAST_DISTANCE).masked_fill(itself, 0)
    mean = distance.sum() / (images * (images - 1))
    # Equal features have no direction: zero, and no gradient of the order of 1 / 1e-12.
    apart = (length > _LEAST_LENGTH).unsqueeze(2)
    unit = difference / length.clamp_min(_LEAST_LENGTH).unsqueeze(2)
    direction = torch.where(apart, unit, torch.zeros_like(unit))
    return distance / mean, direction @ direction.mT


def _neighbours(features: Tensor, eps: float) -> Tensor:
    unit = features / (torch.linalg.vector_norm(features, dim=1, keepdim=True) + eps)
    near: Tensor = (unit @ unit.T + 1) / 2
    return near / near.sum(dim=1, keepdim=True)


def _centred_gram(features: Tensor) -> Tensor:
    centred = features - features.mean(dim=0)
    return centred @ centred.T
