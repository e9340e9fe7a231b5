"""What a search space is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from diswot.errors import UserError

if TYPE_CHECKING:
    from random import Random

    from torch import nn

__all__ = ["Arch", "Space", "SpaceSize"]


class Arch(Protocol):
    """One candidate: immutable, hashable, with a canonical text form.

    The text uses ``[A-Za-z0-9:+|/.~_-]`` only, and ``space.parse(str(arch)) == arch``.
    """

    def __hash__(self) -> int: ...

    def __eq__(self, other: object, /) -> bool: ...

    def __str__(self) -> str: ...


@dataclass(frozen=True)
class SpaceSize:
    """How many architectures a space holds.

    Attributes:
        count: The number, or the bound.
        exact: False where ``count`` is a lower bound.
    """

    count: int
    exact: bool = True

    def __str__(self) -> str:
        number = f"{self.count:,}" if self.count < 10**9 else f"{self.count:.3g}"
        return number if self.exact else f"at least {number}"


class Space(ABC):
    """A set of architectures and how to build the networks they describe.

    Args:
        name: The word the config and the result use.
        default_budget: Limits a run keeps unless its budget says otherwise, by name
            (``params``, ``flops``, ``layers``).
    """

    def __init__(self, *, name: str, default_budget: Mapping[str, float] | None = None) -> None:
        self.name = name
        self.default_budget = dict(default_budget or {})

    @property
    @abstractmethod
    def size(self) -> SpaceSize:
        """How many architectures there are."""

    @property
    @abstractmethod
    def embedding_width(self) -> int | None:
        """Channels of the pooled embedding where all candidates share it, else None."""

    @abstractmethod
    def sample(self, rng: Random) -> Arch:
        """Draw an architecture at random."""

    @abstractmethod
    def mutate(self, arch: Arch, rng: Random) -> Arch:
        """Draw a neighbour of ``arch``; never ``arch`` itself."""

    def enumerate(self) -> Iterator[Arch]:
        """All architectures, once each, in a fixed order.

        Raises:
            UserError: The space cannot be listed.
        """
        raise UserError(f"space={self.name}: its architectures cannot be listed one by one")

    @abstractmethod
    def parse(self, text: str) -> Arch:
        """Read the canonical text form.

        Raises:
            UserError: ``text`` is no architecture of this space.
        """

    @abstractmethod
    def build(self, arch: Arch, *, num_classes: int, in_channels: int = 3) -> nn.Module:
        """Build the network; it takes images of any size.

        Returns:
            A module that keeps `diswot.models.Network`.
        """

    def summands(self, arch: Arch) -> Sequence[Arch]:
        """Architectures whose costs give that of ``arch``: a base, and what comes on top of it.

        Parameters, MACs and layers of ``arch`` are those of the first plus, for each other one,
        what it has more than the first. Empty: costs do not add up in this space.
        """
        return ()

    def prefixes(self, arch: Arch) -> Sequence[Hashable]:
        """What determines the map after each of the first stages, shallowest first.

        Equal values in two architectures of a space mean: the same layers under the same names
        up to there. A space that gives any builds networks whose ``outputs`` takes ``known``
        (see `diswot.models.staged.StagedNetwork`). Empty: nothing is shared.
        """
        return ()
