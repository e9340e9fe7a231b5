"""Random search."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diswot.strategies.base import Strategy

if TYPE_CHECKING:
    from diswot.spaces.base import Arch

__all__ = ["RandomSearch"]


class RandomSearch(Strategy):
    """Independent random architectures inside the budget: the baseline of every strategy."""

    def ask(self) -> list[Arch]:
        """A generation of fresh draws."""
        return [self.proposals.sample() for _ in range(self.generation)]
