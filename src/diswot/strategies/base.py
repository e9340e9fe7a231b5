"""What a search strategy is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from diswot.checks import whole

if TYPE_CHECKING:
    from diswot.spaces.base import Arch
    from diswot.strategies.proposals import Proposals

__all__ = ["Observation", "Strategy"]


@dataclass(frozen=True)
class Observation:
    """An architecture and what it scored.

    Attributes:
        arch: The architecture.
        score: Higher is better; None where scoring failed.
    """

    arch: Arch
    score: float | None


class Strategy(ABC):
    """Asks for a generation of architectures, is told their scores, asks for the next.

    A strategy is deterministic: what it asks depends on its settings, on the generator inside
    ``proposals`` and on what it was told. Its whole state can be saved and restored.

    Args:
        name: The word the config and the result use.
        evaluations: Proposals to score, first population and repeats included; None where
            the strategy ends by itself.
        generation: Proposals asked at once, before any of them is told.

    Raises:
        UserError: A number below one.
    """

    ends: ClassVar[bool] = False
    """Whether it ends by itself, so that ``evaluations`` may be None."""

    proposals: Proposals

    def __init__(self, *, name: str, evaluations: int | None, generation: int = 10) -> None:
        self.name = name
        if not (evaluations is None and self.ends):
            evaluations = whole("strategy.evaluations", evaluations, 1)
        self.evaluations = evaluations
        self.generation = whole("strategy.generation", generation, 1)

    def start(self, proposals: Proposals) -> None:
        """Begin a search; ``proposals`` draws architectures that keep the budget.

        Raises:
            UserError: The strategy cannot search this space.
        """
        self.proposals = proposals

    @abstractmethod
    def ask(self) -> list[Arch]:
        """The next proposals, at most ``generation``; none when there is nothing left to ask."""

    def tell(self, told: Sequence[Observation]) -> None:  # noqa: B027 - not every strategy learns
        """Take the scores of the generation asked last, in the order asked."""

    def revise(self, scores: Mapping[Arch, float]) -> None:  # noqa: B027
        """Take new scores of architectures told before.

        Called before every `tell` where scores are relative to all candidates seen so far.
        """

    def state_dict(self) -> dict[str, Any]:
        """The whole state, as JSON values."""
        return {"proposals": self.proposals.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.proposals.load_state_dict(state["proposals"])
