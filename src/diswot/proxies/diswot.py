"""DisWOT: semantic plus relation similarity."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import TYPE_CHECKING, Any

from diswot.checks import choice
from diswot.proxies.base import Components, Proxy, ProxyContext, ProxyInput, Summary
from diswot.proxies.combine import COMBINATIONS, combine
from diswot.proxies.functional.semantic import FLOOR
from diswot.proxies.relation import Relation
from diswot.proxies.semantic import Semantic

if TYPE_CHECKING:
    from torch import nn

    from diswot.data import MiniBatch
    from diswot.models.outputs import NetworkOutputs

__all__ = ["DisWOT"]


class DisWOT(Proxy):
    """``M_s + M_r`` of an untrained teacher and an untrained student.

    Source: Dong et al., "DisWOT: Student Architecture Search for Distillation WithOut
    Training", CVPR 2023, equation 5.

    Args:
        name: Key of the config.
        form: Form of the semantic part, see `Semantic`.
        floor: Of the semantic part, see `Semantic`.
        combine: ``sum`` is the published plain sum. ``zscore`` adds the parts after
            standardising each over all candidates seen so far, ``rank`` adds their ranks; both
            are relative: a candidate's score changes as others are seen.

    Raises:
        UserError: An unknown form, combination or a negative floor.
    """

    needs_teacher = True
    outputs_only = True
    needs_labels = True

    def __init__(
        self, *, name: str, form: str = "auto", floor: float = FLOOR, combine: str = "sum"
    ) -> None:
        super().__init__(name=name)
        self.combine = choice(f"proxy.{name}.combine", combine, COMBINATIONS)
        self._semantic = Semantic(name=name, form=form, floor=floor)
        self._relation = Relation(name=name)

    def bind(self, context: ProxyContext) -> DisWOT:
        """Settle the semantic form, see `Semantic.bind`."""
        bound = copy(self)
        bound._semantic = self._semantic.bind(context)
        bound.needs_labels = bound._semantic.needs_labels
        return bound

    def summarize(self, outputs: NetworkOutputs, batch: MiniBatch, network: nn.Module) -> Summary:
        """Both parts' summaries."""
        return {
            **self._semantic.summarize(outputs, batch, network),
            **self._relation.summarize(outputs, batch, network),
        }

    def measure(self, inputs: ProxyInput) -> Components:
        """``semantic`` and ``relation``."""
        return {**self._semantic.measure(inputs), **self._relation.measure(inputs)}

    def fitness(self, parts: Sequence[Components]) -> list[float]:
        """The sum, or the relative combination."""
        return combine(parts, self.combine)

    @property
    def relative(self) -> bool:
        """True for ``zscore`` and ``rank``."""
        return self.combine != "sum"

    def settings(self) -> dict[str, Any]:
        """Form, floor and combination."""
        return {**self._semantic.settings(), "combine": self.combine}
