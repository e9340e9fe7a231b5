"""Search algorithms: each asks for architectures to score and is told their scores."""

from diswot.strategies.base import Observation, Strategy
from diswot.strategies.proposals import Proposals

__all__ = ["Observation", "Proposals", "Strategy"]
