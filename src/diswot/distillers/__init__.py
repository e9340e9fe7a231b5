"""Distillation losses over the outputs of a student and its teacher; lower is better, always."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from torch import Tensor, nn

from diswot.checks import number
from diswot.config import make
from diswot.distillers.schedules import Given, at_epoch, scheduled
from diswot.errors import UnfitError
from diswot.models.outputs import NetworkOutputs


@dataclass(frozen=True)
class Step:
    """Inputs of a distiller at one training step beside the outputs of both networks.

    Attributes:
        labels: Class of each image, ``(B,)``, integers.
        epoch: Finished epochs, from 0.
        teacher_weight, student_weight: Of the classifiers, ``(K, C)``; the teacher's is a constant.
        indices: Place of each image among those of the training split, ``(B,)``, integers.
        seed: Key of what a distiller draws at this step, see `diswot.keys.generator`.
    """

    labels: Tensor
    epoch: int
    teacher_weight: Tensor
    student_weight: Tensor
    indices: Tensor
    seed: int = 0


class Distiller(nn.Module, ABC):
    """A distillation loss; what it learns itself, its connectors, are its parameters.

    Args:
        name: Key of the config, for logs and messages.
        weight: What the loss is multiplied by: a number or a schedule, see `scheduled`.
        ce_weight: Weight of the cross-entropy with the labels in the publication's protocol; of
            several distillers the smallest counts.

    Raises:
        UserError: A setting that is not allowed; every distiller checks its own.
    """

    logits_only: ClassVar[bool] = False
    """Whether it reads logits alone; ``stages`` and ``preactivations`` may then be empty."""

    reads_classifier: ClassVar[bool] = True
    """Whether it reads the logits or the classifier of the teacher, which must then be trained."""

    needs_teacher: ClassVar[bool] = True
    """Whether it learns from a teacher; otherwise ``teacher`` is nothing to read."""

    needs_labels: bool = False
    """Whether it needs one class an image, which mixed images do not have."""

    def __init__(self, *, name: str, weight: Given, ce_weight: float = 1.0) -> None:
        super().__init__()
        self.name = name
        self.weight = scheduled(f"distiller.{name}.weight", weight, partial(number, low=0))
        self.ce_weight = number(f"distiller.{name}.ce_weight", ce_weight, low=0)

    def weight_in(self, epoch: int) -> float:
        """What the loss is multiplied by in an epoch, counted from 0."""
        return at_epoch(self.weight, epoch)

    def connect(self, teacher: NetworkOutputs, student: NetworkOutputs) -> None:
        """Build the connectors, once, from outputs for the same few images, before training.

        Raises:
            UnfitError: It cannot serve this pair of networks.
            UserError: A setting does not go with this pair.
        """

    def attach(self, teacher: nn.Linear, student: nn.Linear, labels: Tensor) -> None:
        """See both classifiers and the training images, once, after `connect`.

        ``labels`` has the class of each image of the training split, ``(N,)``, -1 of those held
        out. The student's classifier may be parametrised (`torch.nn.utils.parametrize`): what is
        saved of the student is the plain tensor.

        Raises:
            UserError: It cannot serve these classifiers.
        """

    @abstractmethod
    def forward(self, teacher: NetworkOutputs, student: NetworkOutputs, step: Step) -> Tensor:
        """The loss, a scalar without its weight; lower is better.

        ``teacher`` holds constants, to which no gradient flows; ``student`` has a graph.
        """

    def pairs(
        self, teacher: NetworkOutputs, student: NetworkOutputs, *, before: bool = False
    ) -> list[tuple[Tensor, Tensor]]:
        """Stage maps of both, the last with the last, as many as both have; UnfitError for none.

        Those ``before`` the stages' last activations, if asked for.
        """
        count = min(len(teacher.stages), len(student.stages))
        if not count:
            raise UnfitError(
                f"distiller.{self.name} reads feature maps: the teacher shows "
                f"{len(teacher.stages)} stages, the student {len(student.stages)}"
            )
        maps = [each.preactivations if before else each.stages for each in (teacher, student)]
        return list(zip(maps[0][-count:], maps[1][-count:], strict=True))

    def check_classes(self, teacher: NetworkOutputs, student: NetworkOutputs) -> None:
        """Raise `UnfitError` for networks of another number of classes."""
        if teacher.logits.shape != student.logits.shape:
            needs = "networks of one number of classes"
            raise self.refusal(needs, teacher.logits, student.logits)

    def refusal(
        self, needs: str, teacher: Tensor, student: Tensor, shown: str = "logits"
    ) -> UnfitError:
        """The error for a pair of networks that the distiller cannot serve."""
        return UnfitError(
            f"distiller.{self.name} needs {needs}: teacher {shown} {tuple(teacher.shape)}, "
            f"student {tuple(student.shape)}"
        )


def needing_teacher(nodes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Names of the distillers of a config that learn from a teacher; UserError for wrong nodes."""
    made = {name: make(node, f"distiller.{name}", Distiller) for name, node in nodes.items()}
    return [name for name, distiller in made.items() if distiller.needs_teacher]


class OfStages(Distiller):
    """Compares stage maps of any width and needs no connector."""

    reads_classifier = False

    def connect(self, teacher: NetworkOutputs, student: NetworkOutputs) -> None:
        """Refuse networks that show no stages."""
        self.pairs(teacher, student)


class OfLogits(Distiller):
    """Compares logits alone and needs no connector."""

    logits_only = True

    def connect(self, teacher: NetworkOutputs, student: NetworkOutputs) -> None:
        """Refuse networks of another number of classes."""
        self.check_classes(teacher, student)
