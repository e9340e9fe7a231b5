"""Architectures drawn inside the budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import TYPE_CHECKING, Any

from diswot.errors import UserError

if TYPE_CHECKING:
    from diswot.scoring.budget import Budget, CostModel
    from diswot.spaces.base import Arch, Space

__all__ = ["Proposals"]

_PLAIN_TRIES = 100
_STALL = 100  # steps of the walk without getting nearer, after which it starts anew


class Proposals:
    """Draws from a space until the budget is kept.

    A plain draw is repeated at most 100 times. Then the draw that broke the budget least is
    mutated, step by step and never away from the budget, so that small budgets are found in
    large spaces; a walk that gets no nearer for 100 steps starts anew from another draw.

    Args:
        space: Where to draw from.
        budget: The limits; its ``max_tries`` caps the tries of one proposal.
        costs: Counts what the limits are about.
        rng: The one generator of the search.

    Attributes:
        rejected: Draws that broke the budget so far.
    """

    def __init__(self, space: Space, budget: Budget, costs: CostModel, rng: Random) -> None:
        self.space = space
        self.budget = budget
        self.costs = costs
        self.rng = rng
        self.rejected = 0

    def sample(self) -> Arch:
        """A random architecture inside the budget.

        Raises:
            UserError: None was found.
        """
        return self._inside(lambda: self.space.sample(self.rng))

    def mutate(self, parent: Arch) -> Arch:
        """A neighbour of ``parent`` inside the budget.

        Raises:
            UserError: None was found.
        """
        return self._inside(lambda: self.space.mutate(parent, self.rng))

    def enumerate(self, start: int = 0) -> Iterator[tuple[int, Arch]]:
        """All architectures inside the budget from position ``start`` on, with the next position.

        Raises:
            UserError: The space cannot be listed.
        """
        for position, arch in enumerate(self.space.enumerate()):
            if position < start:
                continue
            if self.budget.excess(arch, self.costs, 0.0) > 0:
                self.rejected += 1
                continue
            yield position + 1, arch

    def _inside(self, draw: Callable[[], Arch]) -> Arch:
        tries = self.budget.max_tries
        nearest = here = draw()
        least = level = self.budget.excess(here, self.costs)
        plain = min(_PLAIN_TRIES, tries // 2)
        stalled = 0
        for attempt in range(1, tries + 1):
            if level <= 0:
                return here
            self.rejected += 1
            if attempt == tries:
                break
            restart = stalled >= _STALL
            arch = draw() if restart or attempt < plain else self._step(here)
            bound = math.inf if restart else level
            excess = self.budget.excess(arch, self.costs, bound)
            stalled = 0 if excess < bound or attempt < plain else stalled + 1
            if excess <= bound:
                here, level = arch, excess
            if level < least:
                nearest, least = here, level
        raise UserError(self._infeasible(nearest))

    def _step(self, arch: Arch) -> Arch:
        for _ in range(self.rng.randint(1, 2)):
            arch = self.space.mutate(arch, self.rng)
        return arch

    def _infeasible(self, nearest: Arch) -> str:
        message = (
            f"budget: no architecture of space {self.space.name} with {self.budget} was found in "
            f"{self.budget.max_tries} tries"
        )
        if nearest is not None:
            has = ", ".join(
                f"{self.costs.measures()[name](nearest):,} {name}" for name in self.budget.limits()
            )
            message += f"; the nearest, {nearest}, has {has}"
        return f"{message}. Raise the limit, or budget.max_tries"

    def state_dict(self) -> dict[str, Any]:
        """Generator and counter, as JSON values."""
        version, internal, gauss = self.rng.getstate()
        return {"rng": [version, list(internal), gauss], "rejected": self.rejected}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        version, internal, gauss = state["rng"]
        self.rng.setstate((version, tuple(internal), gauss))
        self.rejected = state["rejected"]
