"""Strategies that learn nothing from scores: random search and enumeration of a whole space."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from diswot.errors import UserError
from diswot.strategies.base import Proposals, Strategy

if TYPE_CHECKING:
    from diswot.spaces.base import Arch

__all__ = ["Exhaustive", "RandomSearch"]

_LARGEST = 1_000_000


class RandomSearch(Strategy):
    """Independent random architectures inside the budget: the baseline of every strategy."""

    def ask(self) -> list[Arch]:
        """A generation of fresh draws."""
        return [self.proposals.sample() for _ in range(self.generation)]


class Exhaustive(Strategy):
    """Each architecture inside the budget once, in the space's order; ends by itself."""

    ends = True
    _position = 0
    _remaining: Iterator[tuple[int, Arch]] | None = None

    def start(self, proposals: Proposals) -> None:
        """See `Strategy`.

        Raises:
            UserError: The space is too large to score whole.
        """
        super().start(proposals)
        space = proposals.space
        if self.evaluations is None and not (space.size.exact and space.size.count <= _LARGEST):
            raise UserError(
                f"strategy={self.name}: space {space.name} has {space.size} architectures; set "
                f"strategy.evaluations to score the first ones only, or take another strategy"
            )

    def ask(self) -> list[Arch]:
        """The next architectures of the space."""
        if self._remaining is None:
            self._remaining = self.proposals.enumerate(self._position)
        asked = list(islice(self._remaining, self.generation))
        ended = len(asked) < self.generation  # and all that broke the budget is counted
        self._position = self.proposals.space.size.count if ended else asked[-1][0]
        return [arch for _, arch in asked]

    def state_dict(self) -> dict[str, Any]:
        """Position and the state of `Strategy`."""
        return {**super().state_dict(), "position": self._position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        super().load_state_dict(state)
        self._position, self._remaining = state["position"], None
