"""Trainability and expressivity: the conditioning of a kernel, and activation patterns."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["condition_number", "count_patterns"]


def condition_number(gram: Tensor) -> Tensor:
    """``λ_max / λ_min`` of a positive semi-definite matrix.

    Args:
        gram: ``(B, B)``, float64.

    Raises:
        ValueError: It has no full rank to machine precision, or entries that are not finite.
    """
    if not gram.isfinite().all():
        raise ValueError("the kernel is not finite")
    values: Tensor = torch.linalg.eigvalsh(gram)
    least, most = values[0], values[-1]
    if least <= len(gram) * torch.finfo(gram.dtype).eps * most:
        raise ValueError("the kernel is singular")
    return most / least


def count_patterns(active: Tensor) -> int:
    """Number of distinct rows.

    Args:
        active: Which units are on for which input, bool of shape ``(B, units)``.
    """
    packed = np.packbits(active.cpu().numpy(), axis=1)
    return len({row.tobytes() for row in packed})
