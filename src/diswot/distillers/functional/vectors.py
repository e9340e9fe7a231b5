"""Losses on vectors: on logits and on embeddings."""

import torch
from torch import Tensor
from torch.nn import functional as F

from diswot.distillers.functional.maps import equal_shapes, one_batch

__all__ = ["dist", "dkd", "embedding", "kd", "standardize"]

DISTANCES = ("cosine", "smooth_l1", "mse")

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
