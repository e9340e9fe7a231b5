"""Strategies that learn nothing from scores: random search and enumeration of a whole space."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from diswot.errors import UserError
from diswot.spaces.base import Arch
from diswot.strategies import Proposals, Strategy

_LARGEST = 1_000_000  # architectures that are scored whole


class RandomSearch(Strategy):
    """Independent random architectures inside the budget: the baseline of every strategy."""

    def ask(self) -> list[Arch]:
        """See `Strategy`."""
        return [self.proposals.sample() for _ in range(self.generation)]


class Exhaustive(Strategy):
    """Each architecture inside the budget once, in the space's order; ends by itself."""

    ends = True
    _position = 0
    _remaining: Iterator[Arch] | None = None

    def start(self, proposals: Proposals) -> None:
        """See `Strategy`; UserError for a space that is too large to score whole."""
        super().start(proposals)
        space = proposals.space
        if self.evaluations is None and not (space.size.exact and space.size.count <= _LARGEST):
            raise UserError(
                f"strategy={self.name}: space {space.name} has {space.size} architectures; set "
                f"strategy.evaluations to score the first ones only, or take another strategy"
            )

    def ask(self) -> list[Arch]:
        """See `Strategy`."""
        proposals, asked = self.proposals, []
        if self._remaining is None:
            self._remaining = islice(proposals.space.enumerate(), self._position, None)
        for arch in self._remaining:
            self._position += 1
            if proposals.budget.excess(arch, proposals.costs, 0.0) <= 0:
                asked.append(arch)
            else:
                proposals.rejected += 1
            if len(asked) == self.generation:
                break
        return asked

    def state_dict(self) -> dict[str, Any]:
        """See `Strategy`."""
        return {**super().state_dict(), "position": self._position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `Strategy`."""
        super().load_state_dict(state)
        self._position, self._remaining = state["position"], None
