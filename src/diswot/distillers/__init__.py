"""Distillation losses over the outputs of a student and its teacher; lower is better, always."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from diswot.checks import number
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
    """

    labels: Tensor
    epoch: int
    teacher_weight: Tensor
    student_weight: Tensor
    indices: Tensor


class Distiller(nn.Module, ABC):
    """A distillation loss; what it learns itself, its connectors, are its parameters.

    Args:
        name: Key of the config, for logs and messages.
        weight: What the loss is multiplied by.
        ce_weight: Weight of the cross-entropy with the labels in the publication's protocol; of
            several distillers the smallest counts.

    Raises:
        UserError: A setting that is not allowed; every distiller checks its own.
    """

    logits_only: ClassVar[bool] = False
    """Whether it reads logits alone; ``stages`` and ``preactivations`` may then be empty."""

    reads_classifier: ClassVar[bool] = True
    """Whether it reads the logits or the classifier of the teacher, which must then be trained."""

    needs_labels: bool = False
    """Whether it needs one class an image, which mixed images do not have."""

    def __init__(self, *, name: str, weight: float, ce_weight: float = 1.0) -> None:
        super().__init__()
        self.name = name
        self.weight = number(f"distiller.{name}.weight", weight, low=0)
        self.ce_weight = number(f"distiller.{name}.ce_weight", ce_weight, low=0)

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


class OfStages(Distiller):
    """Compares stage maps of any width and needs no connector."""

    reads_classifier = False

    def connect(self, teacher: NetworkOutputs, student: NetworkOutputs) -> None:
        """Refuse networks that show no stages."""
        self.pairs(teacher, student)
