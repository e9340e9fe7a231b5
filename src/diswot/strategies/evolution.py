"""The evolution of the DisWOT paper."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diswot.checks import whole
from diswot.errors import UserError
from diswot.strategies.population import Member, PopulationStrategy

if TYPE_CHECKING:
    from diswot.spaces.base import Arch

__all__ = ["Evolution"]


class Evolution(PopulationStrategy):
    """Keeps the fittest: the least fit member leaves.

    A random sample of the population is drawn, one of its ``top`` fittest is chosen at random
    as the parent, its mutation joins if it keeps the budget, and the least fit leaves (Dong
    et al., CVPR 2023, algorithm 1). An architecture is a member at most once.

    Args:
        name: See `Strategy`.
        evaluations: See `Strategy`.
        generation: See `Strategy`.
        population: See `PopulationStrategy`.
        sample: See `PopulationStrategy`.
        top: How many of the sample may become the parent.

    Raises:
        UserError: ``top`` is below one or above ``sample``.
    """

    def __init__(
        self,
        *,
        name: str,
        evaluations: int,
        generation: int,
        population: int,
        sample: int,
        top: int,
    ) -> None:
        super().__init__(
            name=name,
            evaluations=evaluations,
            generation=generation,
            population=population,
            sample=sample,
        )
        self.top = whole("strategy.top", top, 1)
        if self.top > self.sample:
            raise UserError(f"strategy.top={top}: at most strategy.sample={sample}")

    def accepts(self, arch: Arch) -> bool:
        """Only newcomers."""
        return all(member.arch != arch for member in self.members)

    def choose(self, drawn: list[Member]) -> Member:
        """One of the ``top`` fittest, at random."""
        return self.proposals.rng.choice(drawn[: self.top])

    def select_removal(self) -> Member:
        """The least fit; of several the one that joined first."""
        return min(self.members, key=lambda member: member.fitness)
