"""Search for a Pareto front instead of one architecture."""

import math
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from diswot.errors import UserError
from diswot.spaces.base import Arch
from diswot.strategies import Observation
from diswot.strategies.population import Member, PopulationStrategy

_OBJECTIVES = ("fitness", "params", "flops", "layers", "latency_ms")


class Nsga2(PopulationStrategy):
    """NSGA-II: of a sample the first in order is the parent, the last of the population leave.

    Members are ordered by the rank of their front (0: dominated by none), in a front by crowding
    distance, the loneliest first, then by age. An architecture is a member at most once, and is
    varied by the mutation of its space alone. Fronts and distances are those of pymoo.

    Source: Deb, Pratap, Agarwal and Meyarivan, "A Fast and Elitist Multiobjective Genetic
    Algorithm: NSGA-II", IEEE Transactions on Evolutionary Computation 6(2), 2002.

    Args:
        objectives: ``fitness``, which is to be high, and what is to be low: ``params``, ``flops``,
            ``layers``, ``latency_ms``.

    Raises:
        UserError: Fewer than two objectives, an unknown one or one twice, no fitness among them, or
            pymoo is missing.
    """

    def __init__(self, *, objectives: Sequence[str], **settings: Any) -> None:
        super().__init__(**settings)
        several = isinstance(objectives, list) and len(objectives) > 1
        if not several or "fitness" not in objectives or not _different(objectives):
            raise UserError(
                f"strategy.objectives={objectives} is not allowed; give a list of fitness and one "
                f"or more of {', '.join(_OBJECTIVES[1:])}"
            )
        if find_spec("pymoo") is None:
            raise UserError("strategy=nsga2: its package is missing; pip install 'diswot[pareto]'")
        self.objectives: Sequence[str] = tuple(objectives)
        self._places: dict[Arch, int] = {}

    def ask(self) -> list[Arch]:
        """See `PopulationStrategy`."""
        self._places = self._order()
        return super().ask()

    def tell(self, observations: Sequence[Observation]) -> None:
        """Let the scored proposals of finite cost join; the last in order leave together."""
        for observation in observations:
            if math.isfinite(sum(self._sizes(observation.arch))):
                self.join(observation)
        if len(self.members) > self.population:
            places = self._order()
            self.members = [m for m in self.members if places[m.arch] < self.population]

    def accepts(self, arch: Arch) -> bool:
        """Only newcomers."""
        return all(member.arch != arch for member in self.members)

    def select_parent(self, sample: Sequence[Member]) -> Member:
        """The first in order."""
        return min(sample, key=lambda member: self._places[member.arch])

    def _order(self) -> dict[Arch, int]:
        """The place of every member, from 0."""
        if not self.members:
            return {}
        from pymoo.operators.survival.rank_and_crowding.metrics import get_crowding_function
        from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

        costs = np.array([self._costs(member) for member in self.members])
        order: list[int] = []
        for front in NonDominatedSorting().do(costs):
            members = np.sort(front)  # by age
            distances = get_crowding_function("cd").do(costs[members])
            order += members[np.argsort(-distances, kind="stable")].tolist()
        return {self.members[index].arch: place for place, index in enumerate(order)}

    def _costs(self, member: Member) -> list[float]:
        """The objectives of a member, of all of which less is better."""
        return [-member.fitness, *self._sizes(member.arch)]

    def _sizes(self, arch: Arch) -> list[float]:
        names = (name for name in self.objectives if name != "fitness")
        return [self.proposals.costs.count(name, arch) for name in names]


def _different(names: Sequence[object]) -> bool:
    return len({*map(str, names)}) == len(names) and {*map(str, names)} <= {*_OBJECTIVES}
