"""Losses on maps that connectors made comparable: reviewed, factors, flows, many copies of one."""

import torch
from torch import Tensor
from torch.nn import functional as F

from diswot.distillers.functional.maps import equal_shapes, maps_of_one_batch, one_size

__all__ = ["fsp_matrix", "ft", "norm", "reviewkd"]

_LEVELS = (4, 2, 1)


def reviewkd(teacher: Tensor, student: Tensor) -> Tensor:
    """Hierarchical context loss of knowledge review, of one stage: ``Σ_l w_l MSE_l / Σ_l w_l``.

    Maps ``(B, C, H, W)`` of one shape are compared as they are, with a weight of 1, and
    average-pooled to 4 x 4, 2 x 2 and 1 x 1, each with half the weight of the one before; sizes
    that are not smaller than H are left out.

    Source: Chen et al., "Distilling Knowledge via Knowledge Review", CVPR 2021, in the
    form of mdistiller (Zhao et al., CVPR 2022). The fusion before it is the caller's.

    >>> left = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2).expand(1, 1, 2, 2)
    >>> reviewkd(left, left.flip(3)), reviewkd(left, left + 1)
    (tensor(0.6667), tensor(1.))
    """
    maps_of_one_batch("reviewkd", teacher, student)
    equal_shapes("reviewkd", teacher, student)
    sizes = [size for size in _LEVELS if size < student.shape[2]]
    error, losses = student - teacher, [F.mse_loss(student, teacher)]
    losses += [F.adaptive_avg_pool2d(error, size).square().mean() for size in sizes]
    weights = [0.5**level for level in range(len(losses))]
    weighted = [weight * loss for weight, loss in zip(weights, losses, strict=True)]
    return torch.stack(weighted).sum() / sum(weights)


def ft(teacher: Tensor, student: Tensor, *, power: float = 2, exponent: float = 1) -> Tensor:
    """Factor transfer: ``mean_{b,hw} |Q_T − Q_S|^q``, of the factors of both networks.

    ``Q`` is ``mean_c F_c^p`` flattened over space and divided by its L2 norm, as in `at`, which it
    is for q = 2. Factors are ``(B, C, H, W)`` of any width, the larger is average-pooled to the
    size of the smaller one first.

    Source: Kim et al., "Paraphrasing Complex Network: Network Compression via Factor Transfer",
    NeurIPS 2018, in the form of RepDistiller (Tian et al., ICLR 2020), which averages
    over channels. The networks that make factors of maps are the caller's.

    Raises:
        ValueError: No maps, batches that differ, or a power or exponent that is not positive.

    >>> left = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)
    >>> ft(left, left.flip(3))
    tensor(1.)
    """
    maps_of_one_batch("ft", teacher, student)
    for setting, value in (("power", power), ("exponent", exponent)):
        if value <= 0:
            raise ValueError(f"{setting}={value} of ft: give a positive number")
    factor_t, factor_s = (
        F.normalize(maps.pow(power).mean(dim=1).flatten(1), dim=1)
        for maps in one_size(teacher, student)
    )
    return (factor_t - factor_s).abs().pow(exponent).mean()


def fsp_matrix(bottom: Tensor, top: Tensor) -> Tensor:
    """Flow of solution procedure between two stages: ``mean_hw bottom_i · top_j``, ``(B, C, C')``.

    Maps are ``(B, C, H, W)`` and ``(B, C', H', W')``; the larger is average-pooled to the size of
    the smaller one. The loss is `fitnet`, of the matrices of teacher and student.

    Source: Yim et al., "A Gift from Knowledge Distillation: Fast Optimization, Network Minimization
    and Transfer Learning", CVPR 2017, equation 1.

    >>> fsp_matrix(torch.ones(1, 1, 2, 2), torch.full((1, 2, 1, 1), 3.0))
    tensor([[[3., 3.]]])
    """
    maps_of_one_batch("fsp_matrix", bottom, top)
    bottom, top = one_size(bottom, top)
    return bottom.flatten(2) @ top.flatten(2).mT / bottom[0, 0].numel()


def norm(teacher: Tensor, student: Tensor, *, copies: int = 1) -> Tensor:
    """N-to-one representation matching: ``N · mean (S − [T, T, …, T])²`` with N copies of T.

    The teacher's map is ``(B, C, H, W)``, the student's, expanded, ``(B, N·C, H', W')``. The larger
    is max-pooled to the size of the smaller one.

    Source: Liu et al., "NORM: Knowledge Distillation via N-to-One Representation Matching", ICLR
    2023. The expansion is the caller's.

    Raises:
        ValueError: Batches that differ, or a student of another width than N times the teacher's.

    >>> norm(torch.zeros(1, 1, 1, 1), torch.tensor([1.0, 3.0]).view(1, 2, 1, 1), copies=2)
    tensor(10.)
    """
    maps_of_one_batch("norm", teacher, student)
    if student.shape[1] != copies * teacher.shape[1]:
        raise ValueError(
            f"norm needs a student {copies} times as wide as the teacher: teacher "
            f"{tuple(teacher.shape)}, student {tuple(student.shape)}"
        )
    size = [min(teacher.shape[i], student.shape[i]) for i in (2, 3)]
    teacher, student = (
        maps if list(maps.shape[2:]) == size else F.adaptive_max_pool2d(maps, size)
        for maps in (teacher, student)
    )
    return copies * F.mse_loss(student, teacher.repeat(1, copies, 1, 1))
