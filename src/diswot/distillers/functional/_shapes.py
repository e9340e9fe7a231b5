"""Checks of shapes that losses share, and pooling of maps to one size."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F  # noqa: N812

__all__ = ["equal_shapes", "maps_of_one_batch", "maps_of_one_width", "one_batch", "one_size"]


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
