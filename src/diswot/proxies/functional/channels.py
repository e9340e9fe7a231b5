"""Correlation and conditioning of the channels of one layer's output.

Features are ``(B, C, ...)``; a channel's values are those of all images and positions.
"""

import torch
from torch import Tensor

__all__ = ["channel_correlation", "effective_width", "inverse_condition", "least_eigenvalue"]

_ROWS = 2**12  # converted to float64 at once, so that they stay in the cache


def _scale(flat: Tensor, mean: Tensor, squares: Tensor) -> Tensor:
    """``1 / norm`` of the centred values ``(N, C)``, from their squared norms; 0 where constant."""
    # The mean of equal numbers may be rounded: what is centred is not always zero, but never more
    # than this.
    rounded = mean.abs() * (len(flat) * torch.finfo(torch.float64).eps)
    constant = squares <= len(flat) * rounded.square()
    if bool(constant.any()):
        least, most = torch.aminmax(flat[:, constant], dim=0)
        constant[constant.clone()] = (least == most) | (squares[constant] == 0)
    return torch.where(constant, torch.inf, squares).rsqrt()


def channel_correlation(features: Tensor) -> Tensor:
    """Pearson correlation of every two channels of ``(B, C, ...)``: ``(C, C)`` in float64.

    A constant channel correlates with nothing: its row and column are zero, the diagonal too.

    >>> maps = torch.tensor([[1.0, -1.0, 5.0], [2.0, -2.0, 5.0], [3.0, -3.0, 5.0]])
    >>> channel_correlation(maps).round()
    tensor([[ 1., -1.,  0.],
            [-1.,  1.,  0.],
            [ 0.,  0.,  0.]], dtype=torch.float64)
    """
    flat = features.movedim(1, -1).flatten(0, -2)
    mean = flat.mean(0, dtype=torch.float64)
    gram = features.new_zeros(len(mean), len(mean), dtype=torch.float64)
    for part in torch.split(flat, _ROWS):
        centred = part.double() - mean
        gram.addmm_(centred.T, centred)
    scale = _scale(flat, mean, gram.diagonal())
    return gram * scale[:, None] * scale


def effective_width(features: Tensor) -> Tensor:
    """``(tr R)² / ‖R‖²_F`` of the `channel_correlation` R of ``(B, C, ...)``, in float64.

    From 1, where all channels are alike, to C, where no two correlate; tr R is the number of
    channels that are not constant, and a layer without any has width 0. With fewer than C values
    a channel the norm is that of the smaller Gram matrix. It is the participation ratio of the
    eigenvalues of R (Roy & Vetterli's effective rank with Rényi's second entropy).

    >>> effective_width(torch.tensor([[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]]))
    tensor(2., dtype=torch.float64)
    """
    flat = features.movedim(1, -1).flatten(0, -2)
    if len(flat) < flat.shape[1]:
        mean = flat.mean(0, dtype=torch.float64)
        centred = flat.double() - mean
        unit = centred * _scale(flat, mean, centred.square().sum(0))
        gram = unit @ unit.T
        trace = (unit != 0).any(0).sum().double()
    else:
        gram = channel_correlation(features)
        trace = (gram.diagonal() > 0).sum().double()
    return torch.where(trace > 0, trace.square() / gram.square().sum(), 0.0)


def least_eigenvalue(features: Tensor) -> Tensor:
    """Least eigenvalue of the `channel_correlation` of ``(B, C, ...)``, in float64, from 0 to 1.

    It is exactly 0 where a channel is constant, or a channel has no more than C values: centred,
    they cannot be independent. Source: Jiang et al., "MeCo: Zero-Shot NAS with One Data and Single
    Forward Pass via Minimum Eigenvalue of Correlation", NeurIPS 2023.

    >>> least_eigenvalue(torch.tensor([[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]]))
    tensor(1., dtype=torch.float64)
    """
    values = features.numel() // features.shape[1]
    correlation = channel_correlation(features)
    if values <= len(correlation) or bool((correlation.diagonal() == 0).any()):
        return correlation.new_zeros(())
    least: Tensor = torch.linalg.eigvalsh(correlation)[0]
    return least.clamp_min(0)


def inverse_condition(features: Tensor) -> Tensor:
    """``σ_min / σ_max`` of one image's map ``(C, ...)`` as a matrix ``(C, H·W)``, in float64.

    The singular values are the min(C, H·W) ones of the map as it is, not centred; 0 for a map of
    zeros. They are roots of the smaller Gram matrix's eigenvalues: below 1e-8 they are rounding.
    Source: Asthana et al., "Dextr", TMLR 2025.

    >>> inverse_condition(torch.tensor([[3.0, 0.0, 0.0], [0.0, 6.0, 0.0]]))
    tensor(0.5000, dtype=torch.float64)
    """
    flat = features.flatten(1).double()
    gram = flat @ flat.T if flat.shape[0] <= flat.shape[1] else flat.T @ flat
    values = torch.linalg.eigvalsh(gram).clamp_min(0)
    return torch.where(values[-1] > 0, values[0] / values[-1], 0.0).sqrt()
