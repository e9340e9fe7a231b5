"""Search algorithms: each asks for architectures to score and is told their scores."""

from diswot.strategies.base import Observation, Proposals, Strategy, make_strategy

__all__ = ["Observation", "Proposals", "Strategy", "make_strategy"]
