"""Losses on preactivations: which side of a boundary they lie on, and how far beyond it."""

import torch
from torch import Tensor

from diswot.distillers.functional.maps import equal_shapes, maps_of_one_width

__all__ = ["ab", "margin_of_batch_norm", "mean_of_negatives", "ofd"]

_LEAST_SHARE = 1e-3


def ab(teacher: Tensor, student: Tensor, *, margin: float = 1.0) -> Tensor:
    """Activation boundaries: ``3/1000B Σ [(s + m)² 1(s > −m, t ≤ 0) + (s − m)² 1(s ≤ m, t > 0)]``.

    Of preactivations ``(B, C, H, W)`` of one shape. The teacher gives the side of the boundary
    alone, which the student is to leave by the margin m: it is 0 for a student that lies outside
    ±m on the teacher's side everywhere, not for equal inputs.

    Source: Heo et al., "Knowledge Transfer via Distillation of Activation Boundaries Formed by
    Hidden Neurons", AAAI 2019; the factor 3 / 1000 is that of RepDistiller (Tian et
    al., ICLR 2020).

    Raises:
        ValueError: Shapes that differ, or a margin below 0.

    >>> on = torch.ones(1, 1, 1, 1)
    >>> 1000 * ab(on, -on), ab(-on, -on)
    (tensor(12.), tensor(0.))
    """
    maps_of_one_width("ab", teacher, student)
    equal_shapes("ab", teacher, student)
    if margin < 0:
        raise ValueError(f"margin={margin} of ab: give a number of at least 0")
    wanted = torch.where(teacher > 0, margin, -margin)
    wrong = torch.where(teacher > 0, student <= margin, student > -margin)
    return ((student - wanted).square() * wrong).sum() * 3 / (1000 * len(student))


def ofd(teacher: Tensor, student: Tensor, *, margin: Tensor | None = None) -> Tensor:
    """Overhaul of feature distillation: ``mean_b Σ_chw (s − max(t, m_c))²``, a partial distance.

    Preactivations are ``(B, C, H, W)`` of one shape. Nothing counts where ``s ≤ max(t, m_c) ≤ 0``:
    there the student is as inactive as the teacher. ``margin`` ``(C,)`` is at most 0; by default it
    is `mean_of_negatives` of these teacher's maps. The sum makes values of the order of C·H·W.

    Source: Heo et al., "A Comprehensive Overhaul of Feature Distillation", ICCV 2019. The
    convolution that makes widths equal is the caller's.

    Raises:
        ValueError: Shapes that differ, or a margin that is not one number a channel.

    >>> teacher = torch.tensor([2.0, -4.0, -4.0]).view(1, 1, 1, 3)
    >>> student = torch.tensor([1.0, -5.0, 1.0]).view(1, 1, 1, 3)
    >>> ofd(teacher, student, margin=torch.tensor([-1.0]))
    tensor(5.)
    """
    maps_of_one_width("ofd", teacher, student)
    equal_shapes("ofd", teacher, student)
    margin = mean_of_negatives(teacher) if margin is None else margin
    if margin.shape != teacher.shape[1:2]:
        raise ValueError(
            f"margin {tuple(margin.shape)} of ofd: give one number for each of "
            f"{teacher.shape[1]} channels"
        )
    target = torch.maximum(teacher, margin.to(teacher.dtype).view(1, -1, 1, 1))
    counts = (student > target) | (target > 0)
    return ((student - target).square() * counts).sum() / len(student)


def mean_of_negatives(maps: Tensor) -> Tensor:
    """Mean of a channel's negative values, ``(C,)`` of maps ``(B, C, H, W)``; 0 where none is.

    The margin of `ofd` in its paper.

    >>> mean_of_negatives(torch.tensor([-1.0, -3.0, 8.0]).view(1, 1, 1, 3))
    tensor([-2.])
    """
    negative = maps.clamp(max=0).sum((0, 2, 3))
    return negative / (maps < 0).sum((0, 2, 3)).clamp_min(1)


def margin_of_batch_norm(weight: Tensor, bias: Tensor) -> Tensor:
    """The mean below 0 of normal values of deviation ``|weight|`` and mean ``bias``, ``(C,)``.

    ``b − s φ(b/s) / Φ(−b/s)`` with s the deviation: what `mean_of_negatives` tends to after a
    BatchNorm with these parameters, if its outputs are normal. As released, −3 s where fewer than
    one in a thousand values is negative.

    >>> margin_of_batch_norm(torch.ones(2), torch.tensor([0.0, 9.0]))
    tensor([-0.7979, -3.0000])
    """
    deviation = weight.abs()
    scaled = bias / deviation
    share = torch.special.ndtr(-scaled)
    density = torch.exp(-scaled.square() / 2) / (2 * torch.pi) ** 0.5
    return torch.where(share > _LEAST_SHARE, bias - deviation * density / share, -3 * deviation)
