"""Records of a synthesis: the batches of images that were made of a teacher."""

from dataclasses import dataclass
from typing import ClassVar

from diswot.runs.records import Summary


@dataclass(frozen=True)
class SynthesisRecord:
    """One batch of images, from 0.

    Of the stored images: ``cross_entropy`` is the teacher's with their labels, ``statistics`` the
    distance of what its BatchNorms see from what they remember, ``agreement`` the share in percent
    that it puts into the class of the label.
    """

    file: ClassVar[str] = "batches.jsonl"

    batch: int
    cross_entropy: float
    statistics: float
    agreement: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class SynthesisSummary(Summary):
    """Outcome of a synthesis; measures are means over the batches of `SynthesisRecord`.

    ``seconds`` are over all restarts; ``file`` holds the images.
    """

    teacher: str
    teacher_weights: str
    teacher_sha256: str | None = None
    data: str
    num_classes: int
    images: int
    steps: int
    cross_entropy: float
    statistics: float
    agreement: float
    seconds: float
    seed: int
    file: str = "images.npz"
    device: str = "cpu"
