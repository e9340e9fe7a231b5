"""Block scores of AZ-NAS (Lee and Ham, CVPR 2024), see `diswot.proxies.az_nas`."""

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["covariance_entropy", "jacobian_stability"]

_ENTROPY_FLOOR, _NORM_FLOOR = 1e-8, 1e-6


def covariance_entropy(features: Tensor) -> Tensor:
    """``−Σ p ln(p + 1e-8)``, p the eigenvalues of the channels' covariance, divided by their sum.

    The covariance is that of a map ``(B, C, H, W)`` taken as B·H·W points of C coordinates, its
    eigenvalues those of the smaller of the two Gram matrices. In float64, from 0 to ln C. Source:
    AZ-NAS, equations 1 to 4.

    Raises:
        ValueError: The map is not finite, or the same everywhere.

    >>> features = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    >>> covariance_entropy(features[:, :, None, None]).exp()
    tensor(2.0000, dtype=torch.float64)
    """
    points = features.movedim(1, -1).flatten(0, -2).double()
    centred = points - points.mean(0)
    wide = centred.shape[0] < centred.shape[1]
    gram = centred @ centred.T if wide else centred.T @ centred
    total = gram.trace()
    if not bool(total.isfinite()):
        raise ValueError("a block's output is not finite")
    if total <= 0:
        raise ValueError("a block's output is the same everywhere")
    eigenvalues = torch.linalg.eigvalsh(gram).clamp_min(0)
    shares = eigenvalues / eigenvalues.sum()
    return -torch.sum(shares * (shares + _ENTROPY_FLOOR).log())


def jacobian_stability(before: Tensor, after: Tensor) -> Tensor:
    """``2 − σ − 1 / (σ + 1e-6)``, σ the spectral norm of ``beforeᵀ after / (B·H·W)``.

    ``after``, ``(B, C, H, W)``, are random signs at a block's output, ``before``,
    ``(B, C₀, s·H, s·W)``, is their vector–Jacobian product at its input. The s × s pixels of the
    input that lie under one of the output become channels; where s does not divide the input's
    size, zeros fill it up on the right and below. In float64; highest, about 0, where σ = 1.
    Source: AZ-NAS, equations 6 to 11.

    Raises:
        ValueError: ``before`` is zero or not finite, or equal to ``after``: the block does nothing.

    >>> signs = torch.tensor([[1.0, 1.0], [1.0, -1.0]])[:, :, None, None]
    >>> jacobian_stability(before=2 * signs, after=signs)
    tensor(-0.5000, dtype=torch.float64)
    """
    if not bool(before.isfinite().all()):
        raise ValueError("the gradient at a block's input is not finite")
    if not bool(before.any()):
        raise ValueError("no gradient reaches a block's input")
    if torch.equal(before, after):
        raise ValueError("a block passes its input on as it is")
    batch, channels, height, width = before.shape
    rows, columns = after.shape[2:]
    down, right = -(-height // rows), -(-width // columns)
    fill = (0, right * columns - width, 0, down * rows - height)
    patches = F.pad(before, fill).reshape(batch, channels, rows, down, columns, right)
    inputs = patches.permute(0, 2, 4, 1, 3, 5).reshape(batch * rows * columns, -1).double()
    outputs = after.movedim(1, -1).flatten(0, -2).double()
    norm: Tensor = torch.linalg.svdvals(inputs.T @ outputs / len(outputs))[0]
    return 2 - norm - 1 / (norm + _NORM_FLOOR)
