"""Losses on feature maps, and the checks of shapes that all losses share."""

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["at", "fitnet", "ickd", "nst", "vid"]


def fitnet(teacher: Tensor, student: Tensor) -> Tensor:
    """Hint of FitNets: ``mean (S − T)²`` over everything, of features of one shape.

    Source: Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015. The regressor that makes
    widths equal is the caller's.

    >>> fitnet(torch.zeros(1, 2), torch.tensor([[1.0, 3.0]]))
    tensor(5.)
    """
    equal_shapes("fitnet", teacher, student)
    return F.mse_loss(student, teacher)


def at(teacher: Tensor, student: Tensor, *, power: float = 2) -> Tensor:
    """Attention transfer of one stage: ``mean_{b,hw} (Q_T − Q_S)²``.

    ``Q`` is ``mean_c A_c^p`` flattened over space and divided by its L2 norm. Maps are ``(B, C, H,
    W)`` of any width, the larger is average-pooled to the size of the smaller one first. Maps that
    did not end in a ReLU need an even power p, or attention has signs (as in the released code).

    Source: Zagoruyko & Komodakis, "Paying More Attention to Attention", ICLR 2017.

    Raises:
        ValueError: No maps, batches that differ, or a power that is not positive.

    >>> left = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)
    >>> at(left, left.flip(3))
    tensor(1.)
    """
    maps_of_one_batch("at", teacher, student)
    if power <= 0:
        raise ValueError(f"power={power} of at: give a positive number")
    teacher, student = one_size(teacher, student)
    return F.mse_loss(_attention(student, power), _attention(teacher, power))


def nst(teacher: Tensor, student: Tensor) -> Tensor:
    """Neuron selectivity transfer: ``mean k(T,T) + mean k(S,S) − 2 mean k(T,S)`` of one stage.

    The squared MMD over images and pairs of channels, ``k(a, b) = (aᵀb)²``, each channel's map
    divided by its L2 norm. Maps are ``(B, C, H, W)`` of any width, the larger is average-pooled to
    the size of the smaller one first.

    Source: Huang & Wang, "Like What You Like: Knowledge Distill via Neuron Selectivity Transfer",
    2017, the polynomial kernel with d = 2 and c = 0.

    >>> left = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)
    >>> nst(left, left.flip(3)), nst(left, 5 * left.expand(1, 3, 1, 2))
    (tensor(2.), tensor(0.))
    """
    maps_of_one_batch("nst", teacher, student)
    teacher, student = (
        F.normalize(maps.flatten(2), dim=2, eps=1e-12) for maps in one_size(teacher, student)
    )
    own = _selectivity(teacher, teacher) + _selectivity(student, student)
    return own - 2 * _selectivity(teacher, student)


def ickd(teacher: Tensor, student: Tensor) -> Tensor:
    """Inter-channel correlation: ``Σ_b ‖G_T,b − G_S,b‖²_F / (B·C)``.

    ``G_b`` is the ``(C, C)`` Gram matrix of an image's channels over space, each row divided by
    max(norm, 1e-12). Maps are ``(B, C, H, W)`` of any size.

    Source: Liu et al., "Exploring Inter-Channel Correlation for Diversity-Preserved Knowledge
    Distillation", ICCV 2021. The embedding that makes widths equal is the caller's; the released
    loss regroups channels where they are not.

    >>> ickd(torch.eye(2).view(1, 2, 1, 2), torch.ones(1, 2, 1, 2))
    tensor(0.5858)
    """
    maps_of_one_width("ickd", teacher, student)
    difference = _channel_gram(teacher) - _channel_gram(student)
    return difference.square().sum() / (teacher.shape[0] * teacher.shape[1])


def vid(teacher: Tensor, student: Tensor, *, log_scale: Tensor, eps: float = 1e-5) -> Tensor:
    """Variational information distillation: ``½ mean [(μ − t)² / v_c + log v_c]``.

    The negative log-likelihood, without constants, of the teacher's map t ``(B, C, H, W)`` given
    the mean μ of the same shape, made of the student's by the caller's network, and one variance
    ``v_c = log(1 + exp(a_c)) + ε`` a channel, a the log-scale ``(C,)``. It may fall below 0.

    Source: Ahn et al., "Variational Information Distillation for Knowledge Transfer", CVPR 2019,
    in the form of RepDistiller (Tian et al., ICLR 2020).

    Raises:
        ValueError: Shapes that differ, no maps, or a log-scale that is not one number a channel.

    >>> variance_of_one = torch.tensor([1.0]).expm1().log()
    >>> vid(torch.zeros(1, 1, 1, 1), torch.full((1, 1, 1, 1), 2.0), log_scale=variance_of_one)
    tensor(2.0000)
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


def _attention(maps: Tensor, power: float) -> Tensor:
    return F.normalize(maps.pow(power).mean(dim=1).flatten(1), dim=1, eps=1e-12)


def _selectivity(one: Tensor, other: Tensor) -> Tensor:
    return torch.mean((one @ other.mT) ** 2)


def _channel_gram(maps: Tensor) -> Tensor:
    channels = maps.flatten(2)
    return F.normalize(channels @ channels.mT, dim=2, eps=1e-12)


def equal_shapes(loss: str, teacher: Tensor, student: Tensor) -> None:
    """Refuse tensors whose shapes differ."""
    if teacher.shape != student.shape:
        raise _refusal(f"{loss} needs equal shapes", teacher, student)


def one_batch(loss: str, teacher: Tensor, student: Tensor, *, least: int = 1) -> None:
    """Refuse anything but features ``(B, ...)`` of the same B of at least ``least`` images."""
    if teacher.ndim < 2 or student.ndim < 2 or teacher.shape[0] != student.shape[0]:
        raise _refusal(f"{loss} needs features (B, ...) of one batch", teacher, student)
    if teacher.shape[0] < least:
        raise _refusal(f"{loss} needs at least {least} images", teacher, student)


def maps_of_one_batch(loss: str, teacher: Tensor, student: Tensor) -> None:
    """Refuse anything but maps ``(B, C, H, W)`` of the same B."""
    if teacher.ndim != 4 or student.ndim != 4 or teacher.shape[0] != student.shape[0]:
        raise _refusal(f"{loss} needs maps (B, C, H, W) of one batch", teacher, student)


def maps_of_one_width(loss: str, teacher: Tensor, student: Tensor) -> None:
    """Refuse anything but maps ``(B, C, H, W)`` of the same B and C."""
    maps_of_one_batch(loss, teacher, student)
    if teacher.shape[1] != student.shape[1]:
        raise _refusal(f"{loss} needs maps of one width", teacher, student)


def one_size(teacher: Tensor, student: Tensor) -> tuple[Tensor, Tensor]:
    """Average-pool the larger of two maps ``(B, C, H, W)`` to the size of the smaller one."""
    height, width = (min(teacher.shape[i], student.shape[i]) for i in (2, 3))

    def pooled(maps: Tensor) -> Tensor:
        same = maps.shape[2:] == (height, width)
        return maps if same else F.adaptive_avg_pool2d(maps, (height, width))

    return pooled(teacher), pooled(student)


def _refusal(needs: str, teacher: Tensor, student: Tensor) -> ValueError:
    return ValueError(f"{needs}: teacher {tuple(teacher.shape)}, student {tuple(student.shape)}")
