"""Losses on logits."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from diswot.distillers.functional._shapes import equal_shapes, one_batch

__all__ = ["kd"]


def kd(teacher: Tensor, student: Tensor, *, temperature: float = 4.0) -> Tensor:
    """Knowledge distillation: ``T² · mean_b KL(softmax(z_T / T) ‖ softmax(z_S / T))``.

    Source: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015.

    Args:
        teacher: Logits ``(B, K)``.
        student: Logits ``(B, K)``.
        temperature: T, above 0.

    Returns:
        Scalar in nats, at least 0 up to rounding; 0 for equal logits.

    Raises:
        ValueError: Shapes that differ, or a temperature that is not positive.
    """
    equal_shapes("kd", teacher, student)
    one_batch("kd", teacher, student)
    if temperature <= 0:
        raise ValueError(f"temperature={temperature} of kd: give a positive number")
    told = (teacher / temperature).log_softmax(dim=1)
    said = (student / temperature).log_softmax(dim=1)
    return F.kl_div(said, told, reduction="batchmean", log_target=True) * temperature**2
