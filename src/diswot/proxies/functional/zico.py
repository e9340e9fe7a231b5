"""How steady gradients are from batch to batch."""

from __future__ import annotations

from torch import Tensor

__all__ = ["inverse_variation"]


def inverse_variation(gradients: Tensor) -> Tensor:
    """``Σ_w mean_i |g_wi| / std_i g_wi``, weights whose gradient never changes left out.

    Source: Li et al., ICLR 2023, equation 16; the standard deviation is the population's.

    Args:
        gradients: Of one layer's weights, a row a batch, ``(N, W)``.

    Returns:
        A float64 scalar; 0 where no weight is left.
    """
    gradients = gradients.double()
    spread = (gradients - gradients.mean(dim=0)).square_().mean(dim=0).sqrt_()
    # The mean of equal numbers may be rounded: their spread is not always zero.
    kept = (gradients != gradients[:1]).any(dim=0) & (spread > 0)
    return (gradients.abs().mean(dim=0)[kept] / spread[kept]).sum()
