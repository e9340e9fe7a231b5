"""Regularised evolution."""

from __future__ import annotations

from diswot.strategies.population import Member, PopulationStrategy

__all__ = ["AgingEvolution"]


class AgingEvolution(PopulationStrategy):
    """The fittest of a random sample is the parent; the oldest member leaves.

    Source: Real et al., "Regularized Evolution for Image Classifier Architecture Search",
    AAAI 2019, algorithm 1.
    """

    def choose(self, drawn: list[Member]) -> Member:
        """The fittest."""
        return drawn[0]

    def select_removal(self) -> Member:
        """The oldest."""
        return self.members[0]
