"""DisWOT: semantic similarity to a teacher, relation similarity, and their sum."""

from collections.abc import Sequence
from copy import copy
from typing import Any, Self, cast

from torch import nn

from diswot.checks import choice, number
from diswot.data import MiniBatch
from diswot.errors import UserError
from diswot.models.outputs import Network, NetworkOutputs
from diswot.proxies import functional
from diswot.proxies.base import COMBINATIONS, Components, Proxy, ProxyContext, ProxyInput, Summary
from diswot.proxies.functional.similarity import FLOOR

_FORMS = ("auto", "channel", "classes", "images", "images_relu")


class Semantic(Proxy):
    """``M_s``: similarity of class-wise channel gradients, or of class activation maps.

    Source: Dong et al., CVPR 2023, equation 3 and the released code, which has the channel form
    alone. The paper and articles on it describe the term by class activation maps; which of them
    are compared they leave open, so there are three readings. Formulas: `channel_similarity`,
    `cam_similarity`, `cam_matrix` and `image_map_matrix` of `diswot.proxies.functional`.

    Args:
        form: ``channel`` as released (teacher and all candidates need one embedding width);
            ``classes`` (also by its former name, ``cam``) compares classes over all images;
            ``images`` compares images by all their class maps, ``images_relu`` by the sum of what
            is positive in them; ``auto`` takes channel where it can, else images_relu, the only
            one of the three that ranks none of the known tables backwards. In maps of one position
            images_relu sees nothing: all images are alike.
        floor: Least row norm of the channel form. The released 1e-12 is part of the score: with
            Gaussian initialisation the softmax saturates, and what the score tells comes from it.
    """

    needs_teacher = True
    outputs_only = True
    needs_labels = True

    def __init__(self, *, name: str, form: str = "auto", floor: float = FLOOR) -> None:
        super().__init__(name=name)
        form = "classes" if form == "cam" else form
        self.form = choice(f"proxy.{name}.form", form, _FORMS)
        self.floor = number(f"proxy.{name}.floor", floor, low=0)

    def bind(self, context: ProxyContext) -> Self:
        """Settle the form; raises `UserError` for the channel form with widths that differ."""
        same = context.student_width is not None and context.student_width == context.teacher_width
        if self.form == "channel" and not same:
            students = context.student_width or "differing widths"
            raise UserError(
                f"proxy.{self.name}.form=channel needs students as wide as the teacher: before its "
                f"classifier {context.teacher} has {context.teacher_width} channels, students of "
                f"space {context.space} have {students}; use form=images_relu or form=auto"
            )
        bound = copy(self)
        if self.form == "auto":
            bound.form = "channel" if same else "images_relu"
        bound.needs_labels = bound.form == "channel"
        return bound

    def summarize(self, outputs: NetworkOutputs, batch: MiniBatch, network: nn.Module) -> Summary:
        """Class gradient ``(K, C)``, or matrix of activation maps, ``(K, K)`` or ``(B, B)``."""
        if self.form == "channel":
            logits, embedding = outputs.logits.double(), outputs.embedding.double()
            return {"gradient": functional.classifier_gradient(logits, embedding, batch.labels)}
        last = outputs.stages[-1].double(), cast(Network, network).classifier.weight.double()
        channels, read = last[0].shape[1], last[1].shape[1]
        if channels != read:
            raise UserError(
                f"proxy {self.name}: class maps need a classifier of the last stage's {channels} "
                f"channels, the teacher's reads {read}; name its stages, or give proxy=recommended"
            )
        if self.form == "classes":
            return {"maps": functional.cam_matrix(*last)}
        rectified = self.form == "images_relu"
        return {"maps": functional.image_map_matrix(*last, rectified=rectified)}

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`."""
        teacher = inputs.teacher
        student = Semantic.summarize(self, inputs.outputs, inputs.batch, inputs.network)
        if self.form == "channel":
            gradients = teacher["gradient"], student["gradient"]
            return {"semantic": functional.channel_similarity(*gradients, floor=self.floor).item()}
        return {"semantic": functional.cam_similarity(teacher["maps"], student["maps"]).item()}

    def settings(self) -> dict[str, Any]:
        """See `Proxy`."""
        return {"form": self.form, **({"floor": self.floor} if self.form == "channel" else {})}


class Relation(Proxy):
    """``M_r = −‖G_T − G_S‖²_F / B²`` on the last stage's map, in float64.

    Source: Dong et al., CVPR 2023, equation 4. Needs no labels and no classifier; widths of
    teacher and student may differ.

    Args:
        normalise: ``after`` as released divides the rows of ``A Aᵀ``; ``before`` those of A.
    """

    needs_teacher = True
    outputs_only = True
    reported = ("normalise",)

    def __init__(self, *, name: str, normalise: str = "after") -> None:
        super().__init__(name=name)
        self.normalise = choice(f"proxy.{name}.normalise", normalise, ("after", "before"))

    def summarize(self, outputs: NetworkOutputs, batch: MiniBatch, network: nn.Module) -> Summary:
        """The relation matrix, ``(B, B)``."""
        last = outputs.stages[-1].double()
        return {"relation": functional.relation_matrix(last, normalise=self.normalise)}

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`."""
        student = self.summarize(inputs.outputs, inputs.batch, inputs.network)
        teacher = inputs.teacher["relation"]
        return {"relation": functional.relation_similarity(teacher, student["relation"]).item()}


class DisWOT(Semantic):
    """``M_s + M_r`` of an untrained teacher and an untrained student.

    Source: Dong et al., "DisWOT: Student Architecture Search for Distillation WithOut Training",
    CVPR 2023, equation 5. ``form`` and ``floor`` are those of `Semantic`, ``normalise`` that of
    `Relation`.

    Args:
        combine: ``sum`` is the published sum; ``zscore`` adds the standardised parts, ``rank``
            their ranks, ``log_rank`` the ranks' logarithms, among all candidates seen so far: a
            score changes as others are seen.
    """

    def __init__(
        self,
        *,
        name: str,
        form: str = "auto",
        floor: float = FLOOR,
        normalise: str = "after",
        combine: str = "sum",
    ) -> None:
        super().__init__(name=name, form=form, floor=floor)
        self.combine = choice(f"proxy.{name}.combine", combine, COMBINATIONS)
        self.relative = combine != "sum"
        self._relation = Relation(name=name, normalise=normalise)

    def summarize(self, outputs: NetworkOutputs, batch: MiniBatch, network: nn.Module) -> Summary:
        """The summaries of `Semantic` and `Relation`."""
        shown = outputs, batch, network
        return {**super().summarize(*shown), **self._relation.summarize(*shown)}

    def measure(self, inputs: ProxyInput) -> Components:
        """``semantic`` and ``relation``."""
        return {**super().measure(inputs), **self._relation.measure(inputs)}

    def fitness(self, components: Sequence[Components]) -> list[float]:
        """The sum, or the relative combination."""
        return functional.combine(components, self.combine)

    def settings(self) -> dict[str, Any]:
        """See `Proxy`."""
        return {**super().settings(), **self._relation.settings(), "combine": self.combine}
