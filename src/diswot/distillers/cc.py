"""Correlation congruence."""

from __future__ import annotations

from torch import Tensor, nn

from diswot.checks import whole
from diswot.distillers.base import Distiller, Step
from diswot.distillers.functional import cc
from diswot.models.outputs import NetworkOutputs

__all__ = ["CC"]


class CC(Distiller):
    """Errors of neighbours in the batch after linear embeddings, `diswot.distillers.functional.cc`.

    Both embeddings are learned, the teacher's too, as in RepDistiller. A batch of one image has no
    neighbours and gives 0.

    Source: Peng et al., "Correlation Congruence for Knowledge Distillation", ICCV 2019, in the
    form of RepDistiller (Tian et al., ICLR 2020).

    Args:
        name: Key of the config.
        width: Of the embeddings.
        weight: See `Distiller`.
        ce_weight: See `Distiller`.

    Raises:
        UserError: A width that is no number of at least 1.
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
        told, said = self.embed_teacher(teacher.embedding), self.embed_student(student.embedding)
        return cc(told, said) if len(said) > 1 else said.sum() * 0
