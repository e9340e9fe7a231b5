"""Distillers of relations; settings are those of `Distiller` and of the function each names."""

import torch
from torch import Tensor, nn

from diswot.checks import choice, number, positive, whole
from diswot.distillers import Distiller, OfStages, Step
from diswot.distillers.functional import cc, cka, embedding, pkt, rkd, sp
from diswot.distillers.functional.vectors import DISTANCES
from diswot.models.outputs import NetworkOutputs
from diswot.proxies import functional as proxies
from diswot.proxies.functional.similarity import FLOOR

_FORMS = ("auto", "channel", "cam")


class SP(OfStages):
    """Relations of the images in the last stage's map, as in RepDistiller, see `functional.sp`."""

    def forward(self, teacher: NetworkOutputs, student: NetworkOutputs, step: Step) -> Tensor:
        """See `Distiller`."""
        return sp(*self.pairs(teacher, student)[-1])


class CKA(OfStages):
    """Alignment of every stage's relations of images, added, see `functional.cka`.

    A batch of one image relates to nothing and gives 0.
    """

    def forward(self, teacher: NetworkOutputs, student: NetworkOutputs, step: Step) -> Tensor:
        """See `Distiller`."""
        if len(student.embedding) < 2:
            return student.embedding.sum() * 0
        return torch.stack([cka(*pair) for pair in self.pairs(teacher, student)]).sum()


class CC(Distiller):
    """Errors of neighbours in the batch after linear embeddings, see `functional.cc`.

    Both embeddings, of ``width``, are learned, the teacher's too, as in RepDistiller. A batch of
    one image has no neighbours and gives 0.
    """

    reads_classifier = False

    def __init__(self, *, name: str, width: int = 128, **weights: float) -> None:
        super().__init__(name=name, **weights)
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
    """Distances and angles between embeddings, as in RepDistiller, see `functional.rkd`.

    A batch of one image relates to nothing and gives 0.
    """

    reads_classifier = False

    def __init__(
        self,
        *,
        name: str,
        distance_weight: float = 25.0,
        angle_weight: float = 50.0,
        **weights: float,
    ) -> None:
        super().__init__(name=name, **weights)
        self.distance_weight = number(f"distiller.{name}.distance_weight", distance_weight, low=0)
        self.angle_weight = number(f"distiller.{name}.angle_weight", angle_weight, low=0)

    def forward(self, teacher: NetworkOutputs, student: NetworkOutputs, step: Step) -> Tensor:
        """See `Distiller`."""
        if len(student.embedding) < 2:
            return student.embedding.sum() * 0
        weights = {"distance_weight": self.distance_weight, "angle_weight": self.angle_weight}
        return rkd(teacher.embedding, student.embedding, **weights)


class PKT(Distiller):
    """Probabilities of neighbours among embeddings, as in RepDistiller, see `functional.pkt`."""

    reads_classifier = False

    def __init__(self, *, name: str, eps: float = 1e-7, **weights: float) -> None:
        super().__init__(name=name, **weights)
        self.eps = positive(f"distiller.{name}.eps", eps)

    def forward(self, teacher: NetworkOutputs, student: NetworkOutputs, step: Step) -> Tensor:
        """See `Distiller`."""
        return pkt(teacher.embedding, student.embedding, eps=self.eps)


class Embedding(Distiller):
    """The teacher's embedding of the same image, see `functional.embedding`.

    The student's is brought to the teacher's width by a learned projector: a ``linear`` layer, or
    an ``mlp`` of two with LayerNorm and GELU between them.

    Args:
        distance: ``cosine``, ``smooth_l1`` or ``mse``.
        projector: ``linear`` or ``mlp``.
        hidden: Width of the ``mlp``'s hidden layer; None is that of the teacher's embedding.
    """

    reads_classifier = False

    def __init__(
        self,
        *,
        name: str,
        distance: str = "cosine",
        projector: str = "linear",
        hidden: int | None = None,
        **weights: float,
    ) -> None:
        super().__init__(name=name, **weights)
        self.distance = choice(f"distiller.{name}.distance", distance, DISTANCES)
        self.kind = choice(f"distiller.{name}.projector", projector, ("linear", "mlp"))
        hidden_setting = f"distiller.{name}.hidden"
        self.hidden = None if hidden is None else whole(hidden_setting, hidden, least=1)
        self.projector: nn.Module = nn.Identity()

    def connect(self, teacher: NetworkOutputs, student: NetworkOutputs) -> None:
        """Build the projector."""
        width_t, width_s = (each.embedding.shape[1] for each in (teacher, student))
        if self.kind == "linear":
            self.projector = nn.Linear(width_s, width_t)
            return
        hidden = self.hidden or width_t
        self.projector = nn.Sequential(
            nn.Linear(width_s, hidden), nn.LayerNorm(hidden), nn.GELU(), nn.Linear(hidden, width_t)
        )

    def forward(self, teacher: NetworkOutputs, student: NetworkOutputs, step: Step) -> Tensor:
        """See `Distiller`."""
        projected = self.projector(student.embedding)
        return embedding(teacher.embedding, projected, distance=self.distance)


class DisWOT(Distiller):
    """Both similarities to the teacher as losses: ``w_r ‖G_T − G_S‖²_F / B² − w_s M_s``.

    The relation part is `functional.sp` on the last map; M_s is the semantic similarity of the
    proxy, `diswot.proxies.functional`, and needs nothing beside the outputs and both classifiers.

    Source: Dong et al., "DisWOT: Student Architecture Search for Distillation WithOut Training",
    CVPR 2023.

    Args:
        form: Semantic part: ``channel`` as released (needs one embedding width and labels),
            ``cam`` by class maps (any widths), ``auto`` takes channel where it can.
        floor: Least row norm of the channel form.
        semantic_weight, relation_weight: w_s and w_r.
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
        **weights: float,
    ) -> None:
        super().__init__(name=name, **weights)
        self._settle(choice(f"distiller.{name}.form", form, _FORMS))
        self.floor = number(f"distiller.{name}.floor", floor, low=0)
        self.semantic_weight = number(f"distiller.{name}.semantic_weight", semantic_weight, low=0)
        self.relation_weight = number(f"distiller.{name}.relation_weight", relation_weight, low=0)

    def connect(self, teacher: NetworkOutputs, student: NetworkOutputs) -> None:
        """Settle the form, and with it ``needs_labels``."""
        self.check_classes(teacher, student)
        self.pairs(teacher, student)
        same = teacher.embedding.shape == student.embedding.shape
        if self.form == "channel" and not same:
            needs = f"one embedding width with {self.name}.form=channel (auto and cam take any)"
            raise self.refusal(needs, teacher.embedding, student.embedding, "embeddings")
        if self.form == "auto":
            self._settle("channel" if same else "cam")
        for each in (teacher, student) if self.form == "cam" else ():
            if each.stages[-1].shape[1] != each.embedding.shape[1]:
                needs = f"last maps as wide as the embeddings with {self.name}.form=cam"
                raise self.refusal(needs, teacher.stages[-1], student.stages[-1], "maps")

    def forward(self, teacher: NetworkOutputs, student: NetworkOutputs, step: Step) -> Tensor:
        """See `Distiller`."""
        map_t, map_s = self.pairs(teacher, student)[-1]
        if self.form == "channel":
            gradients = (
                proxies.classifier_gradient(each.logits, each.embedding, step.labels)
                for each in (teacher, student)
            )
            semantic = proxies.channel_similarity(*gradients, floor=self.floor)
        else:
            maps, weights = (map_t, map_s), (step.teacher_weight, step.student_weight)
            semantic = proxies.cam_similarity(*map(proxies.cam_matrix, maps, weights))
        return self.relation_weight * sp(map_t, map_s) - self.semantic_weight * semantic

    def _settle(self, form: str) -> None:
        self.form = form
        self.needs_labels = form != "cam"
