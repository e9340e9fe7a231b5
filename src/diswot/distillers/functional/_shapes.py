"""What can be compared with what."""

from __future__ import annotations

from torch import Tensor

__all__ = ["equal_shapes", "maps_of_one_batch", "one_batch"]


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


def _refusal(needs: str, teacher: Tensor, student: Tensor) -> ValueError:
    return ValueError(f"{needs}: teacher {tuple(teacher.shape)}, student {tuple(student.shape)}")
