"""Search strategies, each asks and is told scores, and the architectures inside the budget."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Any, ClassVar

from diswot.checks import whole
from diswot.config import make
from diswot.errors import UserError
from diswot.keys import stable_hash
from diswot.scoring.budget import Budget, CostModel, shown
from diswot.scoring.latency import Latencies
from diswot.scoring.setup import Setup
from diswot.spaces.base import Arch, Space

_PATIENCE = 100  # plain draws, and steps of the walk without getting nearer


@dataclass(frozen=True)
class Observation:
    """An architecture and its score: higher is better, None where it failed or was screened out."""

    arch: Arch
    score: float | None


class Strategy(ABC):
    """Asks for a generation of architectures, is told their scores, asks for the next.

    A strategy is deterministic: what it asks depends on its settings, on the generator inside
    ``proposals`` and on its observations. Its whole state can be saved and restored.

    Args:
        name: The word the config and the result use.
        evaluations: Proposals to score, with first population and repeats; None if it ends itself.
        generation: Proposals asked at once, before any of them is observed.

    Raises:
        UserError: A number below one.
    """

    ends: ClassVar[bool] = False
    """Whether it ends by itself, so that ``evaluations`` may be None."""

    objectives: Sequence[str] | None = None
    """What its Pareto front is of, see `diswot.searching.fronts`; None: it has none of its own."""

    proposals: Proposals

    def __init__(self, *, name: str, evaluations: int | None, generation: int = 10) -> None:
        self.name = name
        free = evaluations is None and self.ends
        self.evaluations = None if free else whole("strategy.evaluations", evaluations, 1)
        self.generation = whole("strategy.generation", generation, 1)

    def start(self, proposals: Proposals) -> None:
        """Begin a search with what keeps the budget; UserError for a space it cannot search."""
        self.proposals = proposals

    @abstractmethod
    def ask(self) -> list[Arch]:
        """The next proposals, at most ``generation``; none when there is nothing left to ask."""

    def tell(self, observations: Sequence[Observation]) -> None:  # noqa: B027 - not all learn
        """Take the scores of the generation asked last, in the order asked."""

    def revise(self, scores: Mapping[Arch, float]) -> None:  # noqa: B027
        """Before every `tell`, take new scores of all seen, where scores are relative to them."""

    def state_dict(self) -> dict[str, Any]:
        """The whole state, as JSON values."""
        return {"proposals": self.proposals.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.proposals.load_state_dict(state["proposals"])


def make_strategy(
    config: Mapping[str, Any], setup: Setup, latencies: Latencies | None = None
) -> Strategy:
    """The started strategy of a resolved config; UserError for settings that are wrong."""
    strategy = make(config["strategy"], "strategy", Strategy)
    teacher: dict[str, float] | None = asdict(setup.teacher_cost) if setup.teacher_cost else None
    if teacher and latencies is not None and latencies.teacher_ms is not None:
        teacher["latency_ms"] = latencies.teacher_ms
    budget = make(config["budget"], "budget", Budget, teacher=teacher)
    rng = Random(stable_hash("strategy", config["seed"]))
    costs = setup.scorer.costs(latencies=latencies)
    strategy.start(Proposals(setup.space, budget, costs, rng))
    return strategy


class Proposals:
    """Draws from a space until the budget, whose ``max_tries`` caps the tries, is kept.

    A plain draw is repeated at most 100 times. Then the draw that broke the budget least is
    mutated, step by step and never away from the budget, so that small budgets are found in
    large spaces; a walk that gets no nearer for 100 steps starts anew from another draw.

    ``rng`` is the one generator of the search, ``rejected`` counts what broke the budget so far.

    Raises:
        UserError: By a draw, where no architecture inside the budget was found.
    """

    def __init__(self, space: Space, budget: Budget, costs: CostModel, rng: Random) -> None:
        self.space, self.budget, self.costs, self.rng = space, budget, costs, rng
        self.rejected = 0

    def sample(self) -> Arch:
        """A random architecture inside the budget."""
        return self._inside(lambda: self.space.sample(self.rng))

    def mutate(self, parent: Arch) -> Arch:
        """A neighbour of ``parent`` inside the budget."""
        return self._inside(lambda: self.space.mutate(parent, self.rng))

    def _inside(self, draw: Callable[[], Arch]) -> Arch:
        tries = self.budget.max_tries
        nearest = here = draw()
        least = level = self.budget.excess(here, self.costs)
        plain, stalled = min(_PATIENCE, tries // 2), 0
        for attempt in range(1, tries + 1):
            if level <= 0:
                return here
            self.rejected += 1
            if attempt == tries:
                break
            restart = stalled >= _PATIENCE
            walking = attempt >= plain and not restart
            arch = here if walking else draw()
            for _ in range(self.rng.randint(1, 2) if walking else 0):
                arch = self.space.mutate(arch, self.rng)
            bound = math.inf if restart else level
            excess = self.budget.excess(arch, self.costs, bound)
            stalled = 0 if excess < bound or attempt < plain else stalled + 1
            if excess <= bound:
                here, level = arch, excess
            if level < least:
                nearest, least = here, level
        counts = ((key, self.costs.count(key, nearest)) for key in self.budget.limits())
        costs = ", ".join(f"{shown(key, count)} {key}" for key, count in counts)
        raise UserError(
            f"budget: no architecture of space {self.space.name} with {self.budget} was found in "
            f"{tries} tries; the nearest, {nearest}, has {costs}. "
            "Raise the limit, or budget.max_tries"
        )

    def state_dict(self) -> dict[str, Any]:
        """Generator and counter, as JSON values."""
        version, internal, gauss = self.rng.getstate()
        return {"rng": [version, list(internal), gauss], "rejected": self.rejected}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        version, internal, gauss = state["rng"]
        self.rng.setstate((version, tuple(internal), gauss))
        self.rejected = state["rejected"]
