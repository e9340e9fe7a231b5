"""Distillers of logits with targets of their own; settings are those of the function each names."""

from collections.abc import Sequence

from torch import Tensor

from diswot.checks import positive
from diswot.distillers import OfLogits, Step
from diswot.distillers.functional import bkd, hard, mlkd, pld, wsld
from diswot.distillers.schedules import Given, at_epoch, scheduled
from diswot.errors import UserError
from diswot.models.outputs import NetworkOutputs


class Hard(OfLogits):
    """Cross-entropy with the class that the teacher says, see `functional.hard`."""

    def forward(self, teacher: NetworkOutputs, student: NetworkOutputs, step: Step) -> Tensor:
        """See `Distiller`."""
        return hard(teacher.logits, student.logits)


class BKD(OfLogits):
    """Binary cross-entropy with the teacher's probability of each class, see `functional.bkd`."""

    def forward(self, teacher: NetworkOutputs, student: NetworkOutputs, step: Step) -> Tensor:
        """See `Distiller`."""
        return bkd(teacher.logits, student.logits)


class WSLD(OfLogits):
    """Divergence weighted by how well both know the image, see `functional.wsld`."""

    needs_labels = True

    def __init__(self, *, name: str, temperature: Given = 2.0, **weights: float) -> None:
        super().__init__(name=name, **weights)
        self.temperature = scheduled(f"distiller.{name}.temperature", temperature, positive)

    def forward(self, teacher: NetworkOutputs, student: NetworkOutputs, step: Step) -> Tensor:
        """See `Distiller`."""
        temperature = at_epoch(self.temperature, step.epoch)
        return wsld(teacher.logits, student.logits, labels=step.labels, temperature=temperature)


class MLKD(OfLogits):
    """Predictions by image, batch and class at several temperatures, see `functional.mlkd`."""

    def __init__(self, *, name: str, temperatures: Sequence[float], **weights: float) -> None:
        super().__init__(name=name, **weights)
        setting = f"distiller.{name}.temperatures"
        if not isinstance(temperatures, list | tuple) or not temperatures:
            raise UserError(f"{setting}={temperatures} is not allowed; give a list of numbers")
        self.temperatures = [positive(setting, each) for each in temperatures]

    def forward(self, teacher: NetworkOutputs, student: NetworkOutputs, step: Step) -> Tensor:
        """See `Distiller`."""
        return mlkd(teacher.logits, student.logits, temperatures=self.temperatures)


class PLD(OfLogits):
    """Likelihood of the teacher's order of the classes, the label first, see `functional.pld`."""

    needs_labels = True

    def forward(self, teacher: NetworkOutputs, student: NetworkOutputs, step: Step) -> Tensor:
        """See `Distiller`."""
        return pld(teacher.logits, student.logits, labels=step.labels)
