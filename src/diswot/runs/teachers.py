"""How good a teacher is itself; see `diswot.runs.records`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TeacherAccuracy:
    """Top-1 in percent with the ``weights`` that teach, on ``images`` of ``of`` test images.

    ``chance`` is what the same predictions would score if they had nothing to do with the labels.
    """

    weights: str
    top1: float
    images: int
    of: int
    chance: float | None = None
