"""Losses on logits beside `kd` and its kin: enhanced, ranked, binary and hard targets."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from diswot.distillers.functional.vectors import check_labels, check_logits, divergence

__all__ = ["bkd", "hard", "mlkd", "ofa", "pld", "wsld"]


def hard(teacher: Tensor, student: Tensor) -> Tensor:
    """Hard-label distillation: ``mean_b −log softmax(z_S)_ŷ`` with ``ŷ = argmax_k z_T``, in nats.

    Logits z are ``(B, K)``. It is above 0 for equal inputs, which are no minimum.

    Source: Touvron et al., "Training Data-efficient Image Transformers & Distillation through
    Attention", ICML 2021, without its distillation token.

    >>> hard(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.25, 0.75]]).log())
    tensor(0.2877)
    """
    check_logits("hard", teacher, student, 1)
    return F.cross_entropy(student, teacher.argmax(dim=1))


def bkd(teacher: Tensor, student: Tensor) -> Tensor:
    """Binary distillation: ``mean_bk −[p log σ(z_S) + (1 − p) log(1 − σ(z_S))]``, p = softmax(z_T).

    Each class is a question of its own, which the teacher answers with its probability. Logits z
    are ``(B, K)``; the mean is over classes too. It is above 0 for equal inputs, which are no
    minimum: that is at ``σ(z_S) = p``.

    Source: Hao et al., "Revisit the Power of Vanilla Knowledge Distillation: from Small Scale to
    Large Scale", NeurIPS 2023, in the form released with OFA-KD.

    >>> bkd(torch.zeros(1, 2), torch.zeros(1, 2))
    tensor(0.6931)
    """
    check_logits("bkd", teacher, student, 1)
    return F.binary_cross_entropy_with_logits(student, teacher.softmax(dim=1))


def ofa(
    teacher: Tensor, student: Tensor, *, labels: Tensor, eps: float = 1.0, temperature: float = 1.0
) -> Tensor:
    """One-for-all: ``mean_b Σ_k −[(p_T + 1_y)^ε − 1_y] log p_S`` of ``p = softmax(z / T)``.

    Adaptive target enhancement: ε above 1 raises the label's target, the more the surer the teacher
    is of it, and lowers all others. Logits z are ``(B, K)``, labels y ``(B,)``; in nats. With ε = 1
    it is the cross-entropy with p_T, so above 0 for equal inputs.

    Source: Hao et al., "One-for-All: Bridge the Gap Between Heterogeneous Architectures in
    Knowledge Distillation", NeurIPS 2023, whose γ is called ε in its release.

    >>> student = torch.tensor([[0.25, 0.75]]).log()
    >>> ofa(torch.zeros(1, 2), student, labels=torch.tensor([1]), eps=2)
    tensor(0.7062)
    """
    check_logits("ofa", teacher, student, temperature)
    check_labels("ofa", teacher, labels)
    label = F.one_hot(labels, teacher.shape[1])
    target = ((teacher / temperature).softmax(dim=1) + label) ** eps - label
    return -(target * (student / temperature).log_softmax(dim=1)).sum(dim=1).mean()


def wsld(teacher: Tensor, student: Tensor, *, labels: Tensor, temperature: float = 2.0) -> Tensor:
    """Weighted soft labels: ``T² mean_b w KL(p_T ‖ p_S)`` with ``p = softmax(z / T)``.

    Images that the student knows better than the teacher count less: ``w = 1 − exp(−CE_S / CE_T)``
    of the cross-entropies with the label, at T = 1 and 1e-7 added to the teacher's. To gradients
    the weights are constant. Logits z are ``(B, K)``, labels ``(B,)``; in nats.

    Source: Zhou et al., "Rethinking Soft Labels for Knowledge Distillation: A Bias-Variance
    Tradeoff Perspective", ICLR 2021; there the cross-entropy with p_T, which has the same gradient.

    >>> student = torch.tensor([[0.25, 0.75]]).log()
    >>> wsld(torch.zeros(1, 2), student, labels=torch.tensor([1]), temperature=1)
    tensor(0.0489)
    """
    check_logits("wsld", teacher, student, temperature)
    check_labels("wsld", teacher, labels)
    of_t, of_s = (F.cross_entropy(z.detach(), labels, reduction="none") for z in (teacher, student))
    weight = 1 - torch.exp(-of_s / (of_t + 1e-7))
    log_t, log_s = ((logits / temperature).log_softmax(dim=1) for logits in (teacher, student))
    apart = F.kl_div(log_s, log_t, reduction="none", log_target=True).sum(dim=1)
    return (weight * apart).mean() * temperature**2


def mlkd(
    teacher: Tensor, student: Tensor, *, temperatures: Sequence[float] = (2, 3, 4, 5, 6)
) -> Tensor:
    """Multi-level: ``Σ_T [T² mean_b KL(P_T ‖ P_S) + ‖ΔPPᵀ‖²_F / B + ‖ΔPᵀP‖²_F / K]``.

    Predictions ``P = softmax(z / T)`` at several temperatures are compared image by image, and by
    how images of the batch relate (``P Pᵀ``, B × B) and how classes do (``Pᵀ P``, K × K); Δ is the
    teacher's minus the student's. Logits z are ``(B, K)``.

    Source: Jin et al., "Multi-Level Logit Distillation", CVPR 2023. The release also shows the
    student a strongly augmented view, and masks half of the images and classes; neither is here.

    >>> mlkd(torch.zeros(1, 2), torch.tensor([[0.25, 0.75]]).log(), temperatures=[1])
    tensor(0.2298)
    """
    if not temperatures:
        raise ValueError("mlkd needs at least one temperature")
    losses = []
    for temperature in temperatures:
        check_logits("mlkd", teacher, student, temperature)
        log_t, log_s = ((logits / temperature).log_softmax(dim=1) for logits in (teacher, student))
        soft_t, soft_s = log_t.exp(), log_s.exp()
        images = (soft_t @ soft_t.T - soft_s @ soft_s.T).square().sum() / len(soft_t)
        classes = (soft_t.T @ soft_t - soft_s.T @ soft_s).square().sum() / soft_t.shape[1]
        losses.append(divergence(log_t, log_s) * temperature**2 + images + classes)
    return torch.stack(losses).sum()


def pld(teacher: Tensor, student: Tensor, *, labels: Tensor) -> Tensor:
    """Plackett-Luce: ``mean_b Σ_k q_π(k) [log Σ_{l≥k} exp z_S,π(l) − z_S,π(k)]``, q = softmax(z_T).

    π puts the label first and the other classes behind it, the teacher's likeliest before the rest:
    the weighted likelihood that the student draws the classes in this order. The first term is the
    cross-entropy with the label, so no other one is needed. Logits z are ``(B, K)``, labels
    ``(B,)``; in nats. It is above 0 for equal inputs, which are no minimum.

    Source: Bassam et al., "PLD: A Choice-Theoretic List-Wise Knowledge Distillation", NeurIPS 2025.

    >>> pld(torch.zeros(1, 2), torch.tensor([[0.25, 0.75]]).log(), labels=torch.tensor([0]))
    tensor(0.6931)
    """
    check_logits("pld", teacher, student, 1)
    check_labels("pld", teacher, labels)
    first = teacher.scatter(1, labels.unsqueeze(1), torch.inf)
    order = first.argsort(dim=1, descending=True, stable=True)
    ranked, weight = student.gather(1, order), teacher.softmax(dim=1).gather(1, order)
    rest = ranked.flip(1).logcumsumexp(dim=1).flip(1)
    return (weight * (rest - ranked)).sum(dim=1).mean()
