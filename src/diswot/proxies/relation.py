"""Relation similarity as a proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diswot.proxies.base import Components, Proxy, ProxyInput, Summary
from diswot.proxies.functional import relation_matrix, relation_similarity

if TYPE_CHECKING:
    from torch import nn

    from diswot.data import MiniBatch
    from diswot.models.outputs import NetworkOutputs

__all__ = ["Relation"]


class Relation(Proxy):
    """``M_r = −‖G_T − G_S‖²_F / B²`` on the last stage's map, in float64.

    Source: Dong et al., CVPR 2023, equation 4. Needs no labels and no classifier; widths of
    teacher and student may differ.
    """

    needs_teacher = True
    outputs_only = True

    def summarize(self, outputs: NetworkOutputs, batch: MiniBatch, network: nn.Module) -> Summary:
        """The relation matrix, ``(B, B)``."""
        return {"relation": relation_matrix(outputs.stages[-1].double())}

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`."""
        assert inputs.outputs is not None
        assert inputs.network is not None
        student = self.summarize(inputs.outputs, inputs.batch, inputs.network)
        teacher = inputs.teacher
        return {"relation": relation_similarity(teacher["relation"], student["relation"]).item()}
