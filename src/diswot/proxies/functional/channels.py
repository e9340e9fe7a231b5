"""Correlation and conditioning of the channels of one layer's output.

Features are ``(B, C, ...)``; a channel's values are those of all images and positions.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["channel_correlation", "effective_width", "inverse_condition", "least_eigenvalue"]

_ROWS = 2**16


def _standardized(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Values ``(N, C)``, their means and ``1 / norm`` of what is centred, 0 where constant."""
    flat = features.movedim(1, -1).flatten(0, -2)
    mean = flat.mean(0, dtype=torch.float64)
    squares = sum((part.double() - mean).square_().sum(0) for part in torch.split(flat, _ROWS))
    # The mean of equal numbers may be rounded: what is centred is not always zero.
    varies = (flat != flat[:1]).any(0) & (squares > 0)
    return flat, mean, torch.where(varies, squares, torch.inf).rsqrt()


def channel_correlation(features: Tensor) -> Tensor:
    """Pearson correlation of every two channels of ``(B, C, ...)``: ``(C, C)`` in float64.

    A constant channel correlates with nothing: its row and column are zero, the diagonal too.

    >>> maps = torch.tensor([[1.0, -1.0, 5.0], [2.0, -2.0, 5.0], [3.0, -3.0, 5.0]])
    >>> channel_correlation(maps).round()
    tensor([[ 1., -1.,  0.],
            [-1.,  1.,  0.],
            [ 0.,  0.,  0.]], dtype=torch.float64)
    """
    flat, mean, scale = _standardized(features)
    gram = features.new_zeros(len(mean), len(mean), dtype=torch.float64)
    for part in torch.split(flat, _ROWS):
        unit = (part.double() - mean) * scale
        gram += unit.T @ unit
    return gram


def effective_width(features: Tensor) -> Tensor:
    """``(tr R)² / ‖R‖²_F`` of the `channel_correlation` R of ``(B, C, ...)``, in float64.

    From 1, where all channels are alike, to C, where no two correlate; tr R is the number of
    channels that are not constant, and a layer without any has width 0. With fewer than C values
    a channel the norm is that of the smaller Gram matrix. It is the participation ratio of the
    eigenvalues of R (Roy & Vetterli's effective rank with Rényi's second entropy).

    >>> effective_width(torch.tensor([[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]]))
    tensor(2., dtype=torch.float64)
    """
    flat, mean, scale = _standardized(features)
    if len(flat) < len(mean):
        unit = (flat.double() - mean) * scale
        norm = (unit @ unit.T).square().sum()
    else:
        norm = channel_correlation(features).square().sum()
    trace = (scale > 0).sum().double()
    return torch.where(trace > 0, trace.square() / norm, 0.0)


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
