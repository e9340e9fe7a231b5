"""Distillers of relations between images or classes.

``name``, ``weight`` and ``ce_weight`` are those of `Distiller`.
"""

from __future__ import annotations

from torch import Tensor, nn

from diswot.checks import choice, number, positive, whole
from diswot.distillers.base import Distiller, Step, paired_stages, refusal, same_classes
from diswot.distillers.functional import cc, pkt, rkd, sp
from diswot.models.outputs import NetworkOutputs
from diswot.proxies.functional import (
    cam_matrix,
    cam_similarity,
    channel_similarity,
    classifier_gradient,
)
from diswot.proxies.functional.similarity import FLOOR

__all__ = ["CC", "PKT", "RKD", "SP", "DisWOT"]

_FORMS = ("auto", "channel", "cam")


class SP(Distiller):
    """Relations of the images in the last stage's map, `diswot.distillers.functional.sp`.

    Source: Tung & Mori, "Similarity-Preserving Knowledge Distillation", ICCV 2019; the last map as
    in RepDistiller. Widths and sizes are free.
    """

    def __init__(self, *, name: str, weight: float = 3000.0, ce_weight: float = 1.0) -> None:
        super().__init__(name=name, weight=weight, ce_weight=ce_weight)

    def connect(self, teacher: NetworkOutputs, student: NetworkOutputs) -> None:
        """Refuse networks that show no stages."""
        paired_stages(self.name, teacher, student)

    def forward(self, teacher: NetworkOutputs, student: NetworkOutputs, step: Step) -> Tensor:
        """See `Distiller`."""
        return sp(*paired_stages(self.name, teacher, student)[-1])


class CC(Distiller):
    """Errors of neighbours in the batch after linear embeddings, `diswot.distillers.functional.cc`.

    Both embeddings are learned, the teacher's too, as in RepDistiller. A batch of one image has no
    neighbours and gives 0.

    Source: Peng et al., "Correlation Congruence for Knowledge Distillation", ICCV 2019, in the
    form of RepDistiller (Tian et al., ICLR 2020).

    Args:
        width: Of the embeddings.
    """

    def __init__(
        self, *, name: str, width: int = 128, weight: float = 0.02, ce_weight: float = 1.0
    ) -> None:
        super().__init__(name=name, weight=weight, ce_weight=ce_weight)
        self.width = whole(f"distiller.{name}.width", width, least=1)
        self.embed_student: nn.Module = nn.Identity()
        self.embed_teacher: nn.Module = nn.Identity()

    def connect(self, teacher: NetworkOutputs, student: NetworkOutputs) -> None:
        """Build an embedding for each network."""
        self.embed_student = nn.Linear(student.embedding.shape[1], self.width)
        self.embed_teacher = nn.Linear(teacher.embedding.shape[1], self.width)

    def forward(self, teacher: NetworkOutputs, student: NetworkOutputs, step: Step) -> Tensor:
        """See `Distiller`."""
        embedded_t = self.embed_teacher(teacher.embedding)
        embedded_s = self.embed_student(student.embedding)
        return cc(embedded_t, embedded_s) if len(embedded_s) > 1 else embedded_s.sum() * 0


class RKD(Distiller):
    """Distances and angles between embeddings, see `diswot.distillers.functional.rkd`.

    Source: Park et al., "Relational Knowledge Distillation", CVPR 2019; embeddings as in
    RepDistiller. Their widths are free. A batch of one image relates to nothing and gives 0.

    Args:
        distance_weight: Of the distances between two images.
        angle_weight: Of the angles between three.
    """

    def __init__(
        self,
        *,
        name: str,
        distance_weight: float = 25.0,
        angle_weight: float = 50.0,
        weight: float = 1.0,
        ce_weight: float = 1.0,
    ) -> None:
        super().__init__(name=name, weight=weight, ce_weight=ce_weight)
        self.distance_weight = number(f"distiller.{name}.distance_weight", distance_weight, low=0)
        self.angle_weight = number(f"distiller.{name}.angle_weight", angle_weight, low=0)

    def forward(self, teacher: NetworkOutputs, student: NetworkOutputs, step: Step) -> Tensor:
        """See `Distiller`."""
        if len(student.embedding) < 2:
            return student.embedding.sum() * 0
        weights = {"distance_weight": self.distance_weight, "angle_weight": self.angle_weight}
        return rkd(teacher.embedding, student.embedding, **weights)


class PKT(Distiller):
    """Probabilities of neighbours among the embeddings, `diswot.distillers.functional.pkt`.

    Source: Passalis & Tefas, "Learning Deep Representations with Probabilistic Knowledge
    Transfer", ECCV 2018; embeddings as in RepDistiller. Their widths are free.

    Args:
        eps: Floor of probabilities and lengths.
    """

    def __init__(
        self, *, name: str, eps: float = 1e-7, weight: float = 30000.0, ce_weight: float = 1.0
    ) -> None:
        super().__init__(name=name, weight=weight, ce_weight=ce_weight)
        self.eps = positive(f"distiller.{name}.eps", eps)

    def forward(self, teacher: NetworkOutputs, student: NetworkOutputs, step: Step) -> Tensor:
        """See `Distiller`."""
        return pkt(teacher.embedding, student.embedding, eps=self.eps)


class DisWOT(Distiller):
    """Minus semantic and minus relation similarity of teacher and student, weighted.

    Relation is similarity-preserving distillation's loss on the last map. Semantic is that of the
    proxy, `diswot.proxies.functional`; it needs nothing beside the outputs and both classifiers.

    Source: Dong et al., "DisWOT: Student Architecture Search for Distillation WithOut Training",
    CVPR 2023.

    Args:
        form: Semantic part: ``channel`` as released (needs one embedding width and labels),
            ``cam`` as the paper describes it (any widths), ``auto`` takes channel where it can.
        floor: Least row norm of the channel form.
        semantic_weight: Of the semantic part.
        relation_weight: Of the relation part.
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
        self.semantic_weight = number(f"distiller.{name}.semantic_weight", semantic_weight, low=0)
        self.relation_weight = number(f"distiller.{name}.relation_weight", relation_weight, low=0)

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
        map_t, map_s = paired_stages(self.name, teacher, student)[-1]
        if self.form == "channel":
            semantic = channel_similarity(
                classifier_gradient(teacher.logits, teacher.embedding, step.labels),
                classifier_gradient(student.logits, student.embedding, step.labels),
                floor=self.floor,
            )
        else:
            semantic = cam_similarity(
                cam_matrix(map_t, step.teacher_weight), cam_matrix(map_s, step.student_weight)
            )
        return self.relation_weight * sp(map_t, map_s) - self.semantic_weight * semantic

    def _settle(self, form: str) -> None:
        self.form = form
        # Of this instance: the class needs labels, one that has settled for cam does not.
        self.__dict__["needs_labels"] = form != "cam"
