"""What evolutionary strategies share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from diswot.checks import whole
from diswot.errors import UserError
from diswot.strategies.base import Observation, Strategy

if TYPE_CHECKING:
    from diswot.spaces.base import Arch

__all__ = ["Member", "PopulationStrategy"]


@dataclass
class Member:
    """An architecture of the population and its fitness."""

    arch: Arch
    fitness: float


class PopulationStrategy(Strategy):
    """A random first population; afterwards every proposal is the mutation of a parent.

    All parents of a generation come from the population as it was when the generation was
    asked. A member is in the order in which it joined.

    Args:
        name: See `Strategy`.
        evaluations: See `Strategy`.
        generation: See `Strategy`.
        population: Members kept, and random architectures scored first.
        sample: Members drawn, without repetition, to choose a parent from.

    Raises:
        UserError: A number below one, or a sample larger than the population.
    """

    def __init__(
        self, *, name: str, evaluations: int, generation: int, population: int, sample: int
    ) -> None:
        super().__init__(name=name, evaluations=evaluations, generation=generation)
        self.population = whole("strategy.population", population, 1)
        self.sample = whole("strategy.sample", sample, 1)
        if self.sample > self.population:
            raise UserError(
                f"strategy.sample={sample}: at most strategy.population={population} can be drawn"
            )
        self.members: list[Member] = []
        self._founded = 0

    def ask(self) -> list[Arch]:
        """The rest of the first population in portions, then children."""
        if self._founded < self.population:
            portion = min(self.generation, self.population - self._founded)
            return [self.proposals.sample() for _ in range(portion)]
        if not self.members:  # nothing could be scored so far
            return [self.proposals.sample() for _ in range(self.generation)]
        return [self.proposals.mutate(self._parent()) for _ in range(self.generation)]

    def tell(self, told: Sequence[Observation]) -> None:
        """Let each scored proposal join, and another member leave where there are too many."""
        for one in told:
            self._founded += 1
            if one.score is not None and self.accepts(one.arch):
                self.members.append(Member(one.arch, one.score))
                if len(self.members) > self.population:
                    self.members.remove(self.select_removal())

    def revise(self, scores: Mapping[Arch, float]) -> None:
        """Give every member its new fitness."""
        for member in self.members:
            member.fitness = scores[member.arch]

    def accepts(self, arch: Arch) -> bool:
        """Whether ``arch`` may join."""
        return True

    @abstractmethod
    def choose(self, drawn: list[Member]) -> Member:
        """The parent among ``drawn``, which is sorted from the fittest down."""

    @abstractmethod
    def select_removal(self) -> Member:
        """The member that leaves."""

    def _parent(self) -> Arch:
        size = min(self.sample, len(self.members))
        drawn = self.proposals.rng.sample(self.members, size)
        return self.choose(sorted(drawn, key=lambda member: -member.fitness)).arch

    def state_dict(self) -> dict[str, Any]:
        """Population and the state of `Strategy`."""
        members = [[str(member.arch), member.fitness] for member in self.members]
        return {**super().state_dict(), "members": members, "founded": self._founded}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        super().load_state_dict(state)
        parse = self.proposals.space.parse
        self.members = [Member(parse(text), fitness) for text, fitness in state["members"]]
        self._founded = state["founded"]
