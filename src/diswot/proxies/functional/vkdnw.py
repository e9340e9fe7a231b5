"""Spectrum of the Fisher information, and its entropy, of VKDNW (Týbl and Neumann, CVPR 2025)."""

import torch
from torch import Tensor

__all__ = ["decile_entropy", "fisher_factor", "fisher_spectrum"]


def fisher_factor(logits: Tensor) -> Tensor:
    """Matrices ``S = diag(√σ) − √σ σᵀ`` with ``Sᵀ S = diag(σ) − σ σᵀ``, σ the softmax.

    Of logits ``(B, K)`` in float64, ``(B, K, K)``. With J the Jacobian of an image's logits by the
    parameters, the rows of ``S J`` are ``√σ_c`` times the gradients of the classes' ``ln σ_c``: the
    Fisher information of the predictions is the mean of ``(S J)ᵀ S J``, without a square root of a
    nearly singular matrix.

    >>> factor = fisher_factor(torch.zeros(1, 2))
    >>> factor.mT @ factor
    tensor([[[ 0.2500, -0.2500],
             [-0.2500,  0.2500]]], dtype=torch.float64)
    """
    shares = logits.double().softmax(1)
    roots = shares.sqrt()
    return torch.diag_embed(roots) - roots[:, :, None] * shares[:, None, :]


def fisher_spectrum(rows: Tensor, images: int) -> Tensor:
    """The P eigenvalues of ``Aᵀ A / images``, ascending, A the rows ``(R, P)`` of all images.

    Squared singular values of A, in float64; those beyond its numerical rank are zeros.

    >>> fisher_spectrum(torch.tensor([[3.0, 0.0, 0.0], [0.0, 2.0, 0.0]]), images=2)
    tensor([0.0000, 2.0000, 4.5000], dtype=torch.float64)
    """
    values = torch.linalg.svdvals(rows.double())
    rounding = max(rows.shape) * torch.finfo(values.dtype).eps * values[:1]
    values = values.where(values > rounding, 0).square() / images
    return torch.cat([values.new_zeros(rows.shape[1] - len(values)), values.flip(0)])


def decile_entropy(spectrum: Tensor) -> Tensor:
    """``−Σ_k λ_k ln λ_k``, λ the nine deciles 10, …, 90 % of a spectrum, divided by their sum.

    Deciles are interpolated linearly; the extremes of the spectrum have no say. In float64, from 0
    to ln 9, where all deciles are alike. Source: VKDNW, equation 11.

    Raises:
        ValueError: The spectrum is not finite, or its deciles are zero.

    >>> decile_entropy(torch.full((20,), 3.0)).exp().round()
    tensor(9., dtype=torch.float64)
    """
    values = spectrum.double()
    if not bool(values.isfinite().all()):
        raise ValueError("the Fisher information is not finite")
    places = torch.linspace(0.1, 0.9, 9, dtype=values.dtype, device=values.device)
    deciles = values.quantile(places)
    if deciles[-1] <= 0:
        raise ValueError("nine in ten of the sampled weights do not change the predictions")
    return torch.sum(torch.special.entr(deciles / deciles.sum()))
