"""Distillers of logits; settings are those of `Distiller` and of the function each names.

A temperature is a number or a schedule, see `diswot.distillers.schedules`.
"""

from torch import Tensor

from diswot.checks import flag, number, positive, whole
from diswot.distillers import OfLogits, Step
from diswot.distillers.functional import dist, dkd, kd, standardize
from diswot.distillers.schedules import Given, at_epoch, scheduled
from diswot.models.outputs import NetworkOutputs


class KD(OfLogits):
    """Divergence of the softened predictions, see `functional.kd`.

    With ``standardize`` logits are standardised per image first, see `functional.standardize`,
    published with ``weight=9 temperature=2``.
    """

    def __init__(
        self, *, name: str, temperature: Given = 4.0, standardize: bool = False, **weights: float
    ) -> None:
        super().__init__(name=name, **weights)
        self.temperature = scheduled(f"distiller.{name}.temperature", temperature, positive)
        self.standardize = flag(f"distiller.{name}.standardize", standardize)

    def forward(self, teacher: NetworkOutputs, student: NetworkOutputs, step: Step) -> Tensor:
        """See `Distiller`."""
        logits_t, logits_s = teacher.logits, student.logits
        if self.standardize:
            logits_t, logits_s = standardize(logits_t), standardize(logits_s)
        return kd(logits_t, logits_s, temperature=at_epoch(self.temperature, step.epoch))


class DKD(OfLogits):
    """Label's class and the other classes weighted apart, see `functional.dkd`.

    In the first ``warmup`` epochs (0: none) the loss is multiplied by ``(epoch + 1) / warmup``, as
    in mdistiller, which counts epochs from 1.
    """

    needs_labels = True

    def __init__(
        self,
        *,
        name: str,
        alpha: float = 1.0,
        beta: float = 8.0,
        temperature: Given = 4.0,
        warmup: int = 20,
        **weights: float,
    ) -> None:
        super().__init__(name=name, **weights)
        self.alpha = number(f"distiller.{name}.alpha", alpha, low=0)
        self.beta = number(f"distiller.{name}.beta", beta, low=0)
        self.temperature = scheduled(f"distiller.{name}.temperature", temperature, positive)
        self.warmup = whole(f"distiller.{name}.warmup", warmup, least=0)

    def connect(self, teacher: NetworkOutputs, student: NetworkOutputs) -> None:
        """Refuse networks of another number of classes, or of one."""
        super().connect(teacher, student)
        if student.logits.shape[1] < 2:
            raise self.refusal("at least two classes", teacher.logits, student.logits)

    def forward(self, teacher: NetworkOutputs, student: NetworkOutputs, step: Step) -> Tensor:
        """See `Distiller`."""
        weights = {
            "alpha": self.alpha,
            "beta": self.beta,
            "temperature": at_epoch(self.temperature, step.epoch),
        }
        loss = dkd(teacher.logits, student.logits, labels=step.labels, **weights)
        return loss * min((step.epoch + 1) / max(self.warmup, 1), 1.0)


class DIST(OfLogits):
    """Correlation of predictions within images and classes, see `functional.dist`."""

    def __init__(
        self,
        *,
        name: str,
        beta: float = 2.0,
        gamma: float = 2.0,
        temperature: Given = 4.0,
        **weights: float,
    ) -> None:
        super().__init__(name=name, **weights)
        self.beta = number(f"distiller.{name}.beta", beta, low=0)
        self.gamma = number(f"distiller.{name}.gamma", gamma, low=0)
        self.temperature = scheduled(f"distiller.{name}.temperature", temperature, positive)

    def forward(self, teacher: NetworkOutputs, student: NetworkOutputs, step: Step) -> Tensor:
        """See `Distiller`."""
        weights = {
            "beta": self.beta,
            "gamma": self.gamma,
            "temperature": at_epoch(self.temperature, step.epoch),
        }
        return dist(teacher.logits, student.logits, **weights)
