"""Effective ranks of activation matrices."""

import torch
from torch import Tensor

__all__ = ["activation_rank"]


def activation_rank(matrix: Tensor) -> Tensor:
    """``exp(entropy)`` of the singular values, normalised to sum to one, in float64.

    Of a matrix ``(N, C)`` of any sides, not centred: from 1 to min(N, C), and 0 for a matrix of
    zeros. The singular values are roots of the smaller Gram matrix's eigenvalues, whose rounding
    adds less than 1e-6 to the rank. Source: Roy & Vetterli, "The effective rank: a measure of
    effective dimensionality", EUSIPCO 2007, definition 1, as in NEAR (Husistein et al., ICLR 2025);
    `log_effective_rank` takes eigenvalues and not their roots.

    >>> activation_rank(torch.tensor([[0.0, 2.0, 0.0], [-2.0, 0.0, 0.0]]))
    tensor(2., dtype=torch.float64)
    """
    matrix = matrix.double()
    gram = matrix @ matrix.T if matrix.shape[0] < matrix.shape[1] else matrix.T @ matrix
    values = torch.linalg.eigvalsh(gram)
    # What is below the precision of the largest eigenvalue is a zero that was rounded.
    floor = len(gram) * torch.finfo(gram.dtype).eps * values[-1]
    values = torch.where(values > floor, values, 0.0).sqrt()
    if not values[-1] > 0:
        return values.new_zeros(())
    entropy: Tensor = torch.special.entr(values / values.sum()).sum()
    return entropy.exp()
