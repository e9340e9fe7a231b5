"""Losses on vectors: on logits, and on how the images of a batch relate to each other."""

import torch
from torch import Tensor
from torch.nn import functional as F

from diswot.distillers.functional.maps import equal_shapes, one_batch
from diswot.proxies.functional import relation_matrix, relation_similarity

__all__ = ["cc", "dist", "dkd", "embedding", "kd", "pkt", "rkd", "sp", "standardize"]

DISTANCES = ("cosine", "smooth_l1", "mse")

_LEAST_LENGTH = 1e-12
_LEAST_DISTANCE = 1e-6
_LEAST_PRODUCT = 1e-8


def kd(teacher: Tensor, student: Tensor, *, temperature: float = 4.0) -> Tensor:
    """Knowledge distillation: ``T² · mean_b KL(softmax(z_T / T) ‖ softmax(z_S / T))``, in nats.

    Logits z are ``(B, K)``. Source: Hinton et al., "Distilling the Knowledge in a Neural Network",
    2015.

    Raises:
        ValueError: Shapes that differ, or a temperature that is not positive.

    >>> kd(torch.zeros(1, 2), torch.tensor([[0.25, 0.75]]).log(), temperature=1)
    tensor(0.1438)
    """
    check_logits("kd", teacher, student, temperature)
    log_t, log_s = ((logits / temperature).log_softmax(dim=1) for logits in (teacher, student))
    return divergence(log_t, log_s) * temperature**2


def dkd(
    teacher: Tensor,
    student: Tensor,
    *,
    labels: Tensor,
    alpha: float = 1.0,
    beta: float = 8.0,
    temperature: float = 4.0,
) -> Tensor:
    """Decoupled knowledge distillation: ``T² (α KL of [p_y, 1 − p_y] + β KL of the others)``.

    The second divergence is between the softmax over all classes but the label's. Logits are
    ``(B, K)``, K at least 2, labels ``(B,)``; in nats. The warm-up is the caller's.

    Source: Zhao et al., "Decoupled Knowledge Distillation", CVPR 2022.

    Raises:
        ValueError: Shapes that differ, a single class, labels of another batch, or a temperature
            that is not positive.

    >>> student = torch.tensor([[0.25, 0.375, 0.375]]).log()
    >>> dkd(torch.zeros(1, 3), student, labels=torch.tensor([0]), beta=0, temperature=1)
    tensor(0.0174)
    """
    check_logits("dkd", teacher, student, temperature)
    check_labels("dkd", teacher, labels, least=2)
    binary_t, others_t = _decoupled(teacher / temperature, labels)
    binary_s, others_s = _decoupled(student / temperature, labels)
    target, rest = divergence(binary_t, binary_s), divergence(others_t, others_s)
    return (alpha * target + beta * rest) * temperature**2


def dist(
    teacher: Tensor,
    student: Tensor,
    *,
    beta: float = 1.0,
    gamma: float = 1.0,
    temperature: float = 1.0,
) -> Tensor:
    """DIST: ``T² [β (1 − mean_b ρ(rows)) + γ (1 − mean_k ρ(columns))]`` of ``softmax(z / T)``.

    ``ρ`` is Pearson's correlation, 1e-8 added to the product of lengths: for equal logits the loss
    is 0 up to that order. Where the product is no more than that, as with a classifier that starts
    at zero, ρ is 0 and has no gradient. Logits z are ``(B, K)``; β weighs ``inter``, γ ``intra`` of
    the paper.

    Source: Huang et al., "Knowledge Distillation from A Stronger Teacher", NeurIPS 2022.

    Raises:
        ValueError: Shapes that differ, or a temperature that is not positive.

    >>> teacher = torch.tensor([[0.25, 0.75]]).log()
    >>> dist(teacher, teacher.flip(1), gamma=0)
    tensor(2.0000)
    """
    check_logits("dist", teacher, student, temperature)
    soft_t, soft_s = ((logits / temperature).softmax(dim=1) for logits in (teacher, student))
    inter, intra = 1 - _pearson(soft_t, soft_s), 1 - _pearson(soft_t.T, soft_s.T)
    return (beta * inter + gamma * intra) * temperature**2


def standardize(logits: Tensor) -> Tensor:
    """Standardised logits: ``(z − mean_k z) / (std_k z + 1e-7)`` of each image, ``(B, K)``.

    The deviation divides by K − 1, so K is at least 2. Source: Sun et al., "Logit Standardization
    in Knowledge Distillation", CVPR 2024.

    >>> standardize(torch.tensor([[10.0, 20.0, 30.0]])).round()
    tensor([[-1.,  0.,  1.]])
    """
    centred = logits - logits.mean(dim=1, keepdim=True)
    return centred / (logits.std(dim=1, keepdim=True) + 1e-7)


def sp(teacher: Tensor, student: Tensor) -> Tensor:
    """Similarity-preserving distillation: ``‖G_T − G_S‖²_F / B²``, minus `relation_similarity`.

    Of features ``(B, ...)`` of any size. Source: Tung & Mori, "Similarity-Preserving Knowledge
    Distillation", ICCV 2019.

    >>> sp(torch.eye(2), torch.ones(2, 5))
    tensor(0.2929)
    """
    one_batch("sp", teacher, student)
    return -relation_similarity(relation_matrix(teacher), relation_matrix(student))


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


def embedding(teacher: Tensor, student: Tensor, *, distance: str = "cosine") -> Tensor:
    """Distance of the embeddings: ``mean_b (1 − cos(e_T, P e_S))``, P a learned projector.

    Embeddings are ``(B, C)``; the projector is the caller's. ``smooth_l1`` and ``mse`` are means
    over all values of the embeddings as they are: of vectors of length one the squared error is
    2 / C times the cosine distance.

    Source: Ranzinger et al., "AM-RADIO: Agglomerative Vision Foundation Model", CVPR 2024, which
    matches the summaries of its teachers by the cosine distance.

    Raises:
        ValueError: Shapes that differ, or an unknown distance.

    >>> embedding(torch.eye(2), torch.tensor([[3.0, 0.0], [1.0, 0.0]]))
    tensor(0.5000)
    """
    equal_shapes("embedding", teacher, student)
    one_batch("embedding", teacher, student)
    if distance not in DISTANCES:
        raise ValueError(f"distance={distance}: give one of {', '.join(DISTANCES)}")
    if distance == "cosine":
        return torch.mean(1 - F.cosine_similarity(teacher, student, dim=1))
    return F.mse_loss(student, teacher) if distance == "mse" else F.smooth_l1_loss(student, teacher)


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


def check_logits(loss: str, teacher: Tensor, student: Tensor, temperature: float) -> None:
    """Refuse anything but logits ``(B, K)`` of one shape and a positive temperature."""
    equal_shapes(loss, teacher, student)
    one_batch(loss, teacher, student)
    if temperature <= 0:
        raise ValueError(f"temperature={temperature} of {loss}: give a positive number")


def check_labels(loss: str, logits: Tensor, labels: Tensor, *, least: int = 1) -> None:
    """Refuse anything but one label an image, and fewer than ``least`` classes."""
    if labels.shape != logits.shape[:1] or logits.shape[1] < least:
        classes = f" and {least} classes" if least > 1 else ""
        raise ValueError(
            f"{loss} needs one label an image{classes}: labels {tuple(labels.shape)}, "
            f"logits {tuple(logits.shape)}"
        )


def divergence(log_t: Tensor, log_s: Tensor) -> Tensor:
    """Mean over the batch of the divergence between log-probabilities."""
    return F.kl_div(log_s, log_t, reduction="batchmean", log_target=True)


def _decoupled(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities of label and rest, ``(B, 2)``, and among the rest, ``(B, K − 1)``."""
    label = labels.unsqueeze(1)
    before = torch.arange(logits.shape[1] - 1, device=logits.device)
    others = logits.gather(1, before + (before >= label))
    log_sum = logits.logsumexp(dim=1, keepdim=True)
    rest = others.logsumexp(dim=1, keepdim=True)
    binary = torch.cat([logits.gather(1, label), rest], dim=1) - log_sum
    return binary, others - rest


def _pearson(one: Tensor, other: Tensor) -> Tensor:
    """Mean over rows of the correlation."""
    one, other = (rows - rows.mean(dim=1, keepdim=True) for rows in (one, other))
    lengths = one.norm(dim=1) * other.norm(dim=1)
    correlation = (one * other).sum(dim=1) / (lengths + _LEAST_PRODUCT)
    # Constant rows correlate with nothing: zero, and no gradient of the order of 1 / 1e-8.
    return torch.mean(torch.where(lengths > _LEAST_PRODUCT, correlation, 0.0))


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
