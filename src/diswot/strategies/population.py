"""Evolutionary strategies: the evolution of the DisWOT paper and regularised evolution."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diswot.checks import whole
from diswot.errors import UserError
from diswot.spaces.base import Arch
from diswot.strategies import Observation, Strategy


@dataclass
class Member:
    """An architecture of the population and its fitness."""

    arch: Arch
    fitness: float


class PopulationStrategy(Strategy):
    """A random first population; afterwards every proposal is the mutation of a parent.

    All parents of a generation come from the population as it was when the generation was
    asked. Members are in the order in which they joined.

    Args:
        population: Members kept, and random architectures scored first.
        sample: Members drawn, without repetition, to select a parent from.

    Raises:
        UserError: A number below one, or a sample larger than the population.
    """

    def __init__(self, *, population: int, sample: int, **settings: Any) -> None:
        super().__init__(**settings)
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
        missing = self.population - self._founded
        if missing > 0 or not self.members:  # without members: nothing could be scored so far
            count = min(self.generation, missing) if missing > 0 else self.generation
            return [self.proposals.sample() for _ in range(count)]
        return [self.proposals.mutate(self._parent()) for _ in range(self.generation)]

    def _parent(self) -> Arch:
        drawn = self.proposals.rng.sample(self.members, min(self.sample, len(self.members)))
        return self.select_parent(sorted(drawn, key=lambda member: -member.fitness)).arch

    def tell(self, observations: Sequence[Observation]) -> None:
        """Let each scored proposal join, and another member leave where there are too many."""
        for observation in observations:
            self.join(observation)
            if len(self.members) > self.population:
                self.members.remove(self.select_removal())

    def join(self, observation: Observation) -> None:
        """Let a proposal become a member, if it was scored and is accepted."""
        self._founded += 1
        if observation.score is not None and self.accepts(observation.arch):
            self.members.append(Member(observation.arch, observation.score))

    def revise(self, scores: Mapping[Arch, float]) -> None:
        """See `Strategy`."""
        for member in self.members:
            member.fitness = scores[member.arch]

    def accepts(self, arch: Arch) -> bool:
        """Whether ``arch`` may join the population."""
        return True

    @abstractmethod
    def select_parent(self, sample: Sequence[Member]) -> Member:
        """The parent, one of ``sample``, which is sorted from the fittest down."""

    def select_removal(self) -> Member:
        """The member that leaves: the least fit; of several the one that joined first."""
        return min(self.members, key=lambda member: member.fitness)

    def state_dict(self) -> dict[str, Any]:
        """See `Strategy`."""
        members = [[str(member.arch), member.fitness] for member in self.members]
        return {**super().state_dict(), "members": members, "founded": self._founded}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `Strategy`."""
        super().load_state_dict(state)
        parse = self.proposals.space.parse
        self.members = [Member(parse(text), fitness) for text, fitness in state["members"]]
        self._founded = state["founded"]


class Evolution(PopulationStrategy):
    """Keeps the fittest; one of the ``top`` fittest of a sample, at random, is the parent.

    An architecture is a member at most once. Source: Dong et al., "DisWOT: Student Architecture
    Search for Distillation WithOut Training", CVPR 2023, algorithm 1.

    Raises:
        UserError: ``top`` is below one or above ``sample``.
    """

    def __init__(self, *, top: int, **settings: Any) -> None:
        super().__init__(**settings)
        self.top = whole("strategy.top", top, 1)
        if self.top > self.sample:
            raise UserError(f"strategy.top={top}: at most strategy.sample={self.sample}")

    def accepts(self, arch: Arch) -> bool:
        """Only newcomers."""
        return all(member.arch != arch for member in self.members)

    def select_parent(self, sample: Sequence[Member]) -> Member:
        """One of the ``top`` fittest, at random."""
        return self.proposals.rng.choice(sample[: self.top])


class AgingEvolution(PopulationStrategy):
    """Regularised evolution: the fittest of a sample is the parent, the oldest member leaves.

    Source: Real et al., "Regularized Evolution for Image Classifier Architecture Search",
    AAAI 2019, algorithm 1.
    """

    def select_parent(self, sample: Sequence[Member]) -> Member:
        """The fittest."""
        return sample[0]

    def select_removal(self) -> Member:
        """The oldest."""
        return self.members[0]
