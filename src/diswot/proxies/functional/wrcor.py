"""Depth-weighted correlation of images' responses, of WRCor (Jing et al., arXiv 2507.08841)."""

from collections.abc import Iterable

import torch
from torch import Tensor

__all__ = ["response_correlation", "weighted_response_correlation"]


def response_correlation(responses: Tensor) -> Tensor:
    """``|Pearson correlation|`` ``(B, B)`` of every two images' responses ``(B, ...)``, in float64.

    It is NaN where a response is the same everywhere, or not finite; the diagonal is exactly one
    elsewhere.

    >>> response_correlation(torch.tensor([[1.0, 2.0, 3.0], [9.0, 8.0, 7.0]])).round()
    tensor([[1., 1.],
            [1., 1.]], dtype=torch.float64)
    """
    flat = responses.movedim(1, -1).flatten(1).double()  # in channels_last a view of the map
    centred = flat - flat.mean(1, keepdim=True)
    unit = centred / centred.norm(dim=1, keepdim=True)
    correlation: Tensor = (unit @ unit.T).abs().clamp(max=1)
    return correlation.diagonal_scatter(correlation.diagonal() * 0 + 1)


def weighted_response_correlation(correlations: Iterable[tuple[int, Tensor]]) -> Tensor:
    """``ln |det K|`` with ``K = Σ 2^l · C``, of pairs of a depth l and a correlation C, ``(B, B)``.

    Correlations that are NaN anywhere are left out, see `response_correlation`. In float64; −inf
    where K is singular. Source: WRCor, equations 10 and 11.

    Raises:
        ValueError: No correlation is left.

    >>> weighted_response_correlation([(0, torch.ones(2, 2)), (3, torch.eye(2))]).exp().round()
    tensor(80., dtype=torch.float64)
    """
    kept = [2.0**level * each.double() for level, each in correlations if not each.isnan().any()]
    if not kept:
        raise ValueError("no response of the network tells the images apart")
    logarithm: Tensor = torch.stack(kept).sum(0).slogdet().logabsdet
    return logarithm
