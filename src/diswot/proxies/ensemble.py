"""A proxy of proxies: their scores compared within all candidates seen so far, and added."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from copy import copy
from dataclasses import replace
from typing import Any, Self, TypeVar

from torch import nn

from diswot.checks import choice
from diswot.data import MiniBatch
from diswot.errors import UserError
from diswot.models.outputs import NetworkOutputs
from diswot.proxies.base import (
    Components,
    Proxy,
    ProxyContext,
    ProxyInput,
    Summary,
    combine,
    layer_values,
)

T = TypeVar("T")

_NEEDS = ("teacher", "labels", "network", "forward", "layers", "gradients")


class Ensemble(Proxy):
    """Sum of its members' ranks, log ranks or z-scores, with equal weights.

    A member's score is what it gives alone. With m candidates seen and ranks from 1 (worst) up,
    ``rank_sum`` adds the ranks and ``log_rank`` their ``ln(rank / m)``, which punishes a
    candidate that one member finds bad (Lee & Ham, "AZ-NAS", CVPR 2024, equation 10); ``zscore``
    adds ``(score − mean) / standard deviation``. A score is relative to the candidates seen so
    far, and changes as others are seen.

    Args:
        members: Proxies by name; in a config a list of names of the group ``proxy`` does.
        combine: ``rank_sum``, ``log_rank`` or ``zscore``.
    """

    relative = True

    def __init__(
        self, *, name: str, members: Mapping[str, Proxy], combine: str = "rank_sum"
    ) -> None:
        super().__init__(name=name)
        self.combine = choice(f"proxy.{name}.combine", combine, ("rank_sum", "log_rank", "zscore"))
        if not members:
            raise UserError(f"proxy.{name}.members=[]: give at least one proxy")
        self._adopt(members)

    def _adopt(self, members: Mapping[str, Proxy]) -> None:
        self.members = dict(members)
        for need in _NEEDS:
            wanted = any(getattr(member, f"needs_{need}") for member in members.values())
            setattr(self, f"needs_{need}", wanted)
        forward = [member for member in members.values() if member.needs_forward]
        self.outputs_only = all(member.outputs_only for member in forward)
        passes = {name for member in members.values() for name in member.layer_values}
        read = {name: layer_values(members.values(), name) for name in passes}
        self.layer_values = {name: values for name, values in read.items() if values}
        self.baseline = all(member.baseline for member in members.values())

    def bind(self, context: ProxyContext) -> Self:
        """Bind every member."""
        bound = copy(self)
        bound._adopt({name: member.bind(context) for name, member in self.members.items()})
        return bound

    @contextmanager
    def observe(self, network: nn.Module) -> Iterator[dict[str, Any]]:
        """What every member observes, by its name."""
        with ExitStack() as stack:
            watching = {n: member for n, member in self.members.items() if member.needs_forward}
            yield {n: stack.enter_context(each.observe(network)) for n, each in watching.items()}

    def summarize(self, outputs: NetworkOutputs, batch: MiniBatch, network: nn.Module) -> Summary:
        """The members' summaries, their keys behind the member's name."""
        return {
            f"{name}.{key}": tensor
            for name, member in self.members.items()
            if member.needs_teacher
            for key, tensor in member.summarize(outputs, batch, network).items()
        }

    def measure(self, inputs: ProxyInput) -> Components:
        """The members' components, their names behind the member's; fails where a member does."""
        components: Components = {}
        for name, member in self.members.items():
            teacher, observed = _own(name, inputs.teacher), (inputs.observed or {}).get(name)
            try:
                parts = member.measure(replace(inputs, teacher=teacher, observed=observed))
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
            components |= {f"{name}.{part}": value for part, value in parts.items()}
        return components

    def fitness(self, components: Sequence[Components]) -> list[float]:
        """The members' scores, combined."""
        scores = {
            name: member.fitness([_own(name, each) for each in components])
            for name, member in self.members.items()
        }
        rows = [dict(zip(scores, row, strict=True)) for row in zip(*scores.values(), strict=True)]
        return combine(rows, "rank" if self.combine == "rank_sum" else self.combine)

    def settings(self) -> dict[str, Any]:
        """The members' names, and how they are combined."""
        return {"members": list(self.members), "combine": self.combine}


def _own(name: str, entries: Mapping[str, T]) -> dict[str, T]:
    start = f"{name}."
    return {k.removeprefix(start): v for k, v in entries.items() if k.startswith(start)}
