"""DisWOT's two similarities as losses."""

from __future__ import annotations

from torch import Tensor

from diswot.checks import choice, number
from diswot.distillers.base import Distiller, Step
from diswot.distillers.connectors import paired_stages, refusal, same_classes
from diswot.distillers.functional import sp
from diswot.models.outputs import NetworkOutputs
from diswot.proxies.functional import (
    cam_matrix,
    cam_similarity,
    channel_similarity,
    classifier_gradient,
)
from diswot.proxies.functional.semantic import FLOOR

__all__ = ["DisWOT"]

_FORMS = ("auto", "channel", "cam")


class DisWOT(Distiller):
    """Minus semantic and minus relation similarity of teacher and student, weighted.

    Relation is similarity-preserving distillation's loss on the last map. Semantic is that of the
    proxy, `diswot.proxies.functional`; it needs nothing beside the outputs and both classifiers.

    Source: Dong et al., "DisWOT: Student Architecture Search for Distillation WithOut Training",
    CVPR 2023.

    Args:
        name: Key of the config.
        form: Semantic part: ``channel`` as released (needs one embedding width and labels),
            ``cam`` as the paper describes it (any widths), ``auto`` takes channel where it can.
        floor: Least row norm of the channel form.
        semantic_weight: Of the semantic part.
        relation_weight: Of the relation part.
        weight: See `Distiller`.
        ce_weight: See `Distiller`.

    Raises:
        UserError: An unknown form, a negative floor or weight.
    """

    needs_labels = True

    def __init__(
        self,
        *,
        name: str,
        form: str = "auto",
        floor: float = FLOOR,
        semantic_weight: float = 2.5,
        relation_weight: float = 3000.0,
        weight: float = 1.0,
        ce_weight: float = 1.0,
    ) -> None:
        super().__init__(name=name, weight=weight, ce_weight=ce_weight)
        self._settle(choice(f"distiller.{name}.form", form, _FORMS))
        self.floor = number(f"distiller.{name}.floor", floor, low=0)
        setting = f"distiller.{name}.semantic_weight"
        self.semantic_weight = number(setting, semantic_weight, low=0)
        setting = f"distiller.{name}.relation_weight"
        self.relation_weight = number(setting, relation_weight, low=0)

    def connect(self, teacher: NetworkOutputs, student: NetworkOutputs) -> None:
        """Settle the form, and with it ``needs_labels``.

        Raises:
            UserError: The channel form with widths that differ, another number of classes.
        """
        same_classes(self.name, teacher, student)
        paired_stages(self.name, teacher, student)
        same = teacher.embedding.shape == student.embedding.shape
        if self.form == "channel" and not same:
            needs = f"one embedding width with {self.name}.form=channel (auto and cam take any)"
            raise refusal(self.name, needs, teacher.embedding, student.embedding, "embeddings")
        if self.form == "auto":
            self._settle("channel" if same else "cam")

    def forward(self, teacher: NetworkOutputs, student: NetworkOutputs, step: Step) -> Tensor:
        """See `Distiller`."""
        told, said = paired_stages(self.name, teacher, student)[-1]
        if self.form == "channel":
            semantic = channel_similarity(
                classifier_gradient(teacher.logits, teacher.embedding, step.labels),
                classifier_gradient(student.logits, student.embedding, step.labels),
                floor=self.floor,
            )
        else:
            semantic = cam_similarity(
                cam_matrix(told, step.teacher_weight), cam_matrix(said, step.student_weight)
            )
        return self.relation_weight * sp(told, said) - self.semantic_weight * semantic

    def _settle(self, form: str) -> None:
        self.form = form
        # Of this instance: the class needs labels, one that has settled for cam does not.
        self.__dict__["needs_labels"] = form != "cam"
