"""Distillation losses of untrained networks as proxies."""

from collections.abc import Callable
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn

from diswot.checks import choice
from diswot.data import MiniBatch
from diswot.errors import UserError
from diswot.models.outputs import NetworkOutputs
from diswot.proxies.base import Components, Proxy, ProxyInput, Summary

_OUTPUTS: dict[str, Callable[[NetworkOutputs], tuple[Tensor, ...]]] = {
    "logits": lambda outputs: (outputs.logits,),
    "embedding": lambda outputs: (outputs.embedding,),
    "map": lambda outputs: outputs.stages[-1:],
    "maps": lambda outputs: outputs.stages,
}


class Distillation(Proxy):
    """Minus a distillation loss between an untrained teacher and an untrained student, in float64.

    Candidates whose outputs the loss cannot compare (another width or number of stages) fail.

    Source: Dong et al., "DisWOT: Student Architecture Search for Distillation WithOut Training",
    CVPR 2023, which holds such proxies against its own; papers: `diswot.distillers.functional`.

    Args:
        loss: Function (teacher, student) → scalar, lower is better. In a config a node with
            ``_partial_: true`` and the loss's settings.
        output: What is compared: ``logits``, ``embedding``, the last stage's ``map``, or all
            stages' ``maps``, the loss added over stages.
    """

    needs_teacher = True
    outputs_only = True

    def __init__(self, *, name: str, loss: Callable[..., Tensor], output: str) -> None:
        super().__init__(name=name)
        where = f"proxy.{name}.loss"
        if not callable(loss):
            raise UserError(f"{where}={loss}: give a node with _target_ and _partial_: true")
        # Computed once on noise, so that wrong settings show before the first candidate.
        shape = (4, 8, 8, 8) if output in ("map", "maps") else (4, 8)
        draw = torch.Generator().manual_seed(0)
        teacher, student = (torch.rand(shape, generator=draw).double() for _ in range(2))
        try:
            value = float(loss(teacher, student))
        except (TypeError, ValueError, RuntimeError) as error:
            raise UserError(f"{where} cannot be computed with output={output}: {error}") from error
        if not isfinite(value):
            raise UserError(f"{where}: its settings make it {value} on random {output}")
        self.loss = loss
        self.output = choice(f"proxy.{name}.output", output, _OUTPUTS)

    def summarize(self, outputs: NetworkOutputs, batch: MiniBatch, network: nn.Module) -> Summary:
        """The outputs that are compared, one entry a stage."""
        compared = _OUTPUTS[self.output](outputs)
        return {f"{self.output}.{i}": tensor for i, tensor in enumerate(compared)}

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`; fails with shapes that the loss cannot compare."""
        teacher, student = tuple(inputs.teacher.values()), _OUTPUTS[self.output](inputs.outputs)
        if len(teacher) != len(student):
            raise ValueError(f"the teacher has {len(teacher)} stages, the student {len(student)}")
        pairs = zip(teacher, student, strict=True)
        return {self.name: -sum(self.loss(t.double(), s.double()).item() for t, s in pairs)}

    def settings(self) -> dict[str, Any]:
        """Loss, its settings where it is a partial, and what is compared."""
        function = getattr(self.loss, "func", self.loss)
        loss = getattr(function, "__name__", type(function).__name__)
        return {"loss": loss, **getattr(self.loss, "keywords", {}), "output": self.output}
