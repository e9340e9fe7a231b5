"""Semantic similarity as a proxy."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any, cast

from diswot.checks import choice, number
from diswot.errors import UserError
from diswot.proxies.base import Components, Proxy, ProxyContext, ProxyInput, Summary
from diswot.proxies.functional import (
    ClassGradient,
    cam_matrix,
    cam_similarity,
    channel_similarity,
    classifier_gradient,
)
from diswot.proxies.functional.semantic import FLOOR

if TYPE_CHECKING:
    from torch import nn

    from diswot.data import MiniBatch
    from diswot.models.outputs import Network, NetworkOutputs

__all__ = ["Semantic"]

_FORMS = ("auto", "channel", "cam")


class Semantic(Proxy):
    """``M_s``: similarity of class-wise channel gradients, or of class activation maps.

    Source: Dong et al., CVPR 2023, equation 3 and the released code.

    Args:
        name: Key of the config.
        form: ``channel`` as released (teacher and all candidates need one embedding width),
            ``cam`` as the paper describes it (any widths), ``auto`` takes channel where it can.
        floor: Least row norm of the channel form. The released 1e-12 is part of the definition:
            with Gaussian initialisation the softmax saturates, and what the score tells comes
            from that floor; 0 normalises exactly.

    Raises:
        UserError: An unknown form or a negative floor.
    """

    needs_teacher = True
    outputs_only = True
    needs_labels = True

    def __init__(self, *, name: str, form: str = "auto", floor: float = FLOOR) -> None:
        super().__init__(name=name)
        self.form = choice(f"proxy.{name}.form", form, _FORMS)
        self.floor = number(f"proxy.{name}.floor", floor, low=0)

    def bind(self, context: ProxyContext) -> Semantic:
        """Settle the form.

        Raises:
            UserError: The channel form with widths that differ.
        """
        same = context.student_width is not None and context.student_width == context.teacher_width
        if self.form == "channel" and not same:
            students = context.student_width or "differing widths"
            raise UserError(
                f"proxy.{self.name}.form=channel needs students as wide as the teacher: before its "
                f"classifier {context.teacher} has {context.teacher_width} channels, students of "
                f"space {context.space} have {students}; use form=cam or form=auto"
            )
        bound = copy(self)
        if self.form == "auto":
            bound.form = "channel" if same else "cam"
        bound.needs_labels = bound.form == "channel"
        return bound

    def summarize(self, outputs: NetworkOutputs, batch: MiniBatch, network: nn.Module) -> Summary:
        """Class gradient ``(K, C)``, or class-by-class matrix of activation maps ``(K, K)``."""
        if self.form == "channel":
            gradient = classifier_gradient(
                outputs.logits.double(), outputs.embedding.double(), batch.labels
            )
            return {"gradient": gradient.value}
        weight = cast("Network", network).classifier.weight
        return {"cam": cam_matrix(outputs.stages[-1].double(), weight.double())}

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`."""
        assert inputs.outputs is not None
        assert inputs.network is not None
        student = self.summarize(inputs.outputs, inputs.batch, inputs.network)
        teacher = inputs.teacher
        if self.form == "channel":
            value = channel_similarity(
                ClassGradient(teacher["gradient"]),
                ClassGradient(student["gradient"]),
                floor=self.floor,
            )
        else:
            value = cam_similarity(teacher["cam"], student["cam"])
        return {"semantic": value.item()}

    def settings(self) -> dict[str, Any]:
        """Form and floor."""
        return {"form": self.form, **({"floor": self.floor} if self.form == "channel" else {})}
