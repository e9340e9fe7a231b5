"""Losses on how a map's channels relate, and on what one channel tells of another."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from diswot.distillers.functional._shapes import equal_shapes, maps_of_one_width

__all__ = ["ickd", "vid"]


def ickd(teacher: Tensor, student: Tensor) -> Tensor:
    """Inter-channel correlation: ``Σ_b ‖G_T,b − G_S,b‖²_F / (B·C)``.

    ``G_b`` is the ``(C, C)`` Gram matrix of an image's channels over space, each row divided by
    max(norm, 1e-12).

    Source: Liu et al., "Exploring Inter-Channel Correlation for Diversity-Preserved Knowledge
    Distillation", ICCV 2021. The embedding that makes widths equal is the caller's; the released
    loss regroups channels where they are not.

    Args:
        teacher: Map ``(B, C, H, W)``; its size is free.
        student: Map ``(B, C, H', W')``.

    Returns:
        Scalar, at least 0; 0 for equal maps.

    Raises:
        ValueError: No maps, batches or widths that differ.
    """
    maps_of_one_width("ickd", teacher, student)
    difference = _channel_gram(teacher) - _channel_gram(student)
    return difference.square().sum() / (teacher.shape[0] * teacher.shape[1])


def vid(teacher: Tensor, student: Tensor, *, log_scale: Tensor, eps: float = 1e-5) -> Tensor:
    """Variational information distillation: negative log-likelihood of the teacher's map.

    ``½ mean [(μ − t)² / v_c + log v_c]`` with the mean ``μ`` made of the student's map and one
    variance ``v_c = log(1 + exp(a_c)) + ε`` a channel; constants are left out.

    Source: Ahn et al., "Variational Information Distillation for Knowledge Transfer", CVPR 2019,
    in the form of RepDistiller (Tian et al., ICLR 2020). The network that gives μ is the caller's.

    Args:
        teacher: Map ``(B, C, H, W)``.
        student: μ, of the same shape.
        log_scale: a, ``(C,)``.
        eps: ε, above 0.

    Returns:
        Scalar; below 0 where variances are below one and the mean is near.

    Raises:
        ValueError: Shapes that differ, no maps, or a log-scale that is not one number a channel.
    """
    maps_of_one_width("vid", teacher, student)
    equal_shapes("vid", teacher, student)
    if log_scale.shape != teacher.shape[1:2]:
        raise ValueError(
            f"log_scale {tuple(log_scale.shape)} of vid: give one number for each of "
            f"{teacher.shape[1]} channels"
        )
    variance = (F.softplus(log_scale) + eps).view(1, -1, 1, 1)
    return 0.5 * torch.mean((student - teacher) ** 2 / variance + variance.log())


def _channel_gram(maps: Tensor) -> Tensor:
    channels = maps.flatten(2)
    return F.normalize(channels @ channels.mT, dim=2, eps=1e-12)
