"""Contrastive losses."""

import torch
from torch import Tensor

__all__ = ["crd", "crd_scores"]

_EPS = 1e-7


def crd_scores(anchor: Tensor, contrasted: Tensor, *, temperature: float = 0.07) -> Tensor:
    """``exp(⟨v_b, u_bk⟩ / τ)`` of anchors v ``(B, D)`` and rows u ``(B, 1 + K, D)`` of a memory.

    >>> crd_scores(torch.ones(1, 1), torch.zeros(1, 2, 1))
    tensor([[1., 1.]])
    """
    return torch.exp((contrasted @ anchor.unsqueeze(2)).squeeze(2) / temperature)


def crd(scores: Tensor, *, images: int) -> Tensor:
    """Contrastive representation distillation: ``−1/B Σ_b [log h_b0 + Σ_k log (1 − h_bk)]``.

    ``h = P / (P + K/M)`` is the probability that a pair is of one image and not one of K noise
    pairs of M images, P the `crd_scores` divided by a constant, ``(B, 1 + K)``; in the first column
    are the pairs of one image. 1e-7 is added to denominators.

    Source: Tian et al., "Contrastive Representation Distillation", ICLR 2020; the
    estimator is that of Gutmann & Hyvärinen, 2010. Both directions, anchors of
    the student and of the teacher, are the caller's to add.

    Raises:
        ValueError: Scores that are not ``(B, 1 + K)`` with a K of at least 1.

    >>> crd(torch.ones(1, 2), images=1)
    tensor(1.3863)
    """
    if scores.ndim != 2 or scores.shape[1] < 2:
        raise ValueError(f"crd needs scores (B, 1 + K): {tuple(scores.shape)}")
    noise = (scores.shape[1] - 1) / images
    same, other = scores[:, 0], scores[:, 1:]
    right = torch.log(same / (same + noise + _EPS)).sum()
    wrong = torch.log(noise / (other + noise + _EPS)).sum()
    return -(right + wrong) / len(scores)
