"""The records of a race; see `diswot.runs.records`."""

from dataclasses import dataclass
from typing import Any, ClassVar

from diswot.runs.records import Summary


@dataclass(frozen=True)
class RaceRecord:
    """One finished training of a race; of rung 0 the teacher's accuracy, which needed none.

    ``taught`` says whether ``arch`` learnt from the teacher, for ``epochs``, on rung ``rung`` (from
    1) and under ``seed``. ``val_top1``, which rungs are decided by (None of the teacher), and
    ``test_top1`` are accuracies in percent after the last epoch, both None of a training that
    diverged, of which ``reason`` tells, as it tells why the teacher is doubted; ``flops`` are MACs
    of one image.
    """

    file: ClassVar[str] = "race.jsonl"

    arch: str
    rung: int
    epochs: int
    seed: int
    taught: bool
    val_top1: float | None
    test_top1: float | None
    params: int
    flops: int
    seconds: float
    reason: str | None = None


@dataclass(frozen=True)
class Estimate:
    """Mean over ``seeds`` and half of its 95 % interval by Student's t, None of one seed."""

    mean: float
    half: float | None
    seeds: int


def side(difference: Estimate) -> int:
    """1 or -1 where the interval of a difference lies above or below 0, else 0."""
    if not difference.half or abs(difference.mean) <= difference.half:
        return 0  # nor do seeds that happen to agree show anything
    return 1 if difference.mean > 0 else -1


@dataclass(frozen=True)
class Contestant:
    """An architecture in a race, as it was on the last ``rung`` it reached.

    ``taught`` and ``alone`` are accuracies in percent on the test images, ``gain`` is the first
    minus the second, paired by seed; None where it was not measured. ``val_top1``, a mean over
    seeds, decided its rung; it is None where a training diverged, of which ``reason`` tells.
    ``seconds`` are of one training there, taught if there is a teacher; ``latency_ms`` is what the
    search that it is of knew, None where it asked for none.
    """

    arch: str
    rung: int
    val_top1: float | None
    taught: Estimate | None
    alone: Estimate | None
    gain: Estimate | None
    params: int
    flops: int
    seconds: float
    reason: str | None = None
    latency_ms: float | None = None


@dataclass(frozen=True, kw_only=True)
class RaceSummary(Summary):
    """Outcome of a race, whose winner is ``arch``; accuracies in percent.

    ``test_top1`` is the winner's mean over ``seeds``, on the test images; ``contestants`` are all,
    the winner first, then by rung and ``val_top1``, which is of the ``validated_on`` images.
    ``margin`` is the winner's test accuracy minus that of the ``control``, paired by seed; None
    without one, or where it won. ``teacher`` is None where labels alone taught, ``teacher_input``
    what its input was set to, ``teacher_top1`` its own accuracy. ``rungs`` are epochs, of
    ``images`` each; ``trained`` counts the trainings, which took ``seconds`` in all. ``checkpoint``
    is the winner's weights of the seed with the best validation.
    """

    space: str
    arch: str
    test_top1: float
    params: int
    flops: int
    control: str | None
    margin: Estimate | None
    contestants: list[Contestant]
    teacher: str | None
    teacher_weights: str | None
    teacher_input: dict[str, Any] | str | None = None
    teacher_top1: float | None
    teacher_params: int | None = None
    teacher_flops: int | None = None
    distiller: list[str]
    data: str
    protocol: str
    rungs: list[int]
    images: int
    training_images: int = 0
    validated_on: str
    trained: int
    seed: int
    seeds: int
    seconds: float
    checkpoint: str = "student.safetensors"
    device: str = "cpu"
