"""Search spaces, and products of independent choices among them."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from inspect import signature
from random import Random
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from diswot.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    from diswot.models.outputs import Cost

Value = float | str


class Arch(Hashable, Protocol):
    """One candidate: immutable, hashable, with a canonical text form.

    The text uses ``[A-Za-z0-9:+|/.~_-]`` only, and ``space.parse(str(arch)) == arch``.
    """


@dataclass(frozen=True)
class SpaceSize:
    """How many architectures a space holds; where it is not exact, a lower bound."""

    count: int
    exact: bool = True

    def __str__(self) -> str:
        number = f"{self.count:,}" if self.count < 10**9 else f"{self.count:.3g}"
        return number if self.exact else f"at least {number}"


class Space(ABC):
    """A set of architectures and how to build the networks they describe.

    ``default_budget`` gives limits a run keeps unless its budget says otherwise, by name
    (``params``, ``flops``, ``layers``). ``arch`` is always an architecture of this space.
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
    def mutate(self, arch: Any, rng: Random) -> Arch:
        """Draw a neighbour of ``arch``; never ``arch`` itself."""

    def enumerate(self) -> Iterator[Arch]:
        """All architectures, once each, in a fixed order; UserError where they cannot be listed."""
        raise UserError(f"space={self.name}: its architectures cannot be listed one by one")

    @abstractmethod
    def parse(self, text: str) -> Arch:
        """Read the canonical text form; UserError for a text of no architecture of this space."""

    @abstractmethod
    def build(self, arch: Any, *, num_classes: int, in_channels: int = 3) -> nn.Module:
        """Build the network, a `diswot.models.Network`; it takes images of any size.

        It may take an argument ``parts`` too, a `diswot.models.parts.PartMaker` or None, and then
        asks that for all of the network that has parameters; and ``image_size`` in pixels or None,
        and then the network takes images of that size.
        """

    def built_for(
        self, arch: Any, num_classes: int, in_channels: int, image_size: int | None, **parts: Any
    ) -> nn.Module:
        """What `build` gives for images ``(in_channels, image_size, image_size)``.

        A UserError where that is no `diswot.models.Network`.
        """
        from diswot.models.outputs import checked_network

        if "image_size" in signature(self.build).parameters:
            parts["image_size"] = image_size
        network = self.build(arch, num_classes=num_classes, in_channels=in_channels, **parts)
        return checked_network(network, f"space={self.name}: build")

    def cost(self, arch: Any, *, num_classes: int, image: tuple[int, int, int]) -> Cost | None:
        """What the network costs on an image ``(in_channels, H, W)``, by a formula; None without.

        Then the network is built on the meta device and counted.
        """
        return None

    def summands(self, arch: Any) -> Sequence[Arch]:
        """Architectures whose costs give that of ``arch``; none where costs do not add up.

        Parameters, MACs and layers of ``arch`` are those of the first plus, for each other one,
        its difference to the first.
        """
        return ()

    def prefixes(self, arch: Any) -> Sequence[Hashable]:
        """A key for the map after each block, shallowest first; none where nothing is shared.

        Equal keys of two architectures mean: the same layers under the same names up to there. A
        space that gives any builds a `StagedNetwork`, or one with its ``outputs`` and ``block_of``.
        """
        return ()


@dataclass(frozen=True)
class Gene:
    """One choice of an architecture, with a name for messages, such as ``depth of stage 2``.

    Where it is ``ordered``, choices ascend and neighbouring ones are alike, so that a mutation
    moves by at most a quarter of the range instead of anywhere.
    """

    name: str
    choices: tuple[Value, ...]
    ordered: bool = False

    def sample(self, rng: Random) -> Value:
        """Draw a value."""
        return rng.choice(self.choices)

    def neighbours(self, value: Value) -> list[Value]:
        """The choices that a mutation may put in the place of ``value``."""
        here = self.choices.index(value)
        reach = max(1, len(self.choices) // 4) if self.ordered else len(self.choices)
        return [other for i, other in enumerate(self.choices) if 0 < abs(i - here) <= reach]


A = TypeVar("A", bound=Arch)


class ProductSpace(Space, Generic[A]):
    """A space whose architectures are the combinations of its genes' choices.

    A member gives its genes, how to turn values into an architecture and back, and, where not all
    combinations are members, :meth:`allows`. UserError for genes without or with equal choices.
    """

    additive: bool = False
    """Whether every choice adds the same parameters, MACs and layers whatever the others are."""

    def __init__(self, *, genes: Sequence[Gene], **space: Any) -> None:
        super().__init__(**space)
        self.genes = tuple(genes)
        for gene in self.genes:
            if not gene.choices or len(set(gene.choices)) != len(gene.choices):
                raise UserError(
                    f"space={self.name}: {gene.name} has the choices {list(gene.choices)}; "
                    "at least one is needed, and each only once"
                )

    @property
    def size(self) -> SpaceSize:
        """The product of the numbers of choices: exact where all are allowed."""
        return SpaceSize(math.prod(len(gene.choices) for gene in self.genes))

    @cached_property
    def example(self) -> A:
        """An architecture that messages give as an example of the text form."""
        return self.from_values([gene.choices[0] for gene in self.genes])

    def not_read(self, text: str) -> UserError:
        """The error for a text of another form."""
        return UserError(f"arch {text!r} is not of space {self.name}, which reads {self.example}")

    @abstractmethod
    def from_values(self, values: Sequence[Value]) -> A:
        """The architecture of one value a gene."""

    @abstractmethod
    def values(self, arch: A) -> tuple[Value, ...]:
        """The values of an architecture, in gene order."""

    def allows(self, arch: A) -> bool:
        """Whether a combination of choices is a member of the space."""
        return True

    def sample(self, rng: Random) -> A:
        """Draw every gene by itself, again and again until the combination is allowed."""
        while True:
            arch = self.from_values([gene.sample(rng) for gene in self.genes])
            if self.allows(arch):
                return arch

    def mutate(self, arch: A, rng: Random) -> A:
        """Change one gene, drawn uniformly among those that have a choice."""
        values = list(self.values(arch))
        free = [i for i, gene in enumerate(self.genes) if len(gene.choices) > 1]
        if not free:
            raise UserError(f"space={self.name}: holds a single architecture: nothing to mutate")
        index = rng.choice(free)
        values[index] = rng.choice(self.genes[index].neighbours(values[index]))
        return self.from_values(values)

    def summands(self, arch: A) -> list[A]:
        """See `Space`; the first choices, and every other choice of ``arch`` alone."""
        if not self.additive:
            return []
        first = [gene.choices[0] for gene in self.genes]
        changed = [(i, v) for i, v in enumerate(self.values(arch)) if v != first[i]]
        alone = ([*first[:i], value, *first[i + 1 :]] for i, value in changed)
        return [self.from_values(values) for values in (first, *alone)]

    def enumerate(self) -> Iterator[A]:
        """All that are allowed, the last gene changing fastest."""
        combinations = itertools.product(*(gene.choices for gene in self.genes))
        return filter(self.allows, map(self.from_values, combinations))

    def checked(self, arch: A, text: str) -> A:
        """``arch`` if every value is among its gene's choices and ``text`` is its canonical form.

        Otherwise UserError names the first value that is not, or gives the canonical form.
        """
        for gene, value in zip(self.genes, self.values(arch), strict=True):
            if value not in gene.choices:
                allowed = ", ".join(map(str, gene.choices))
                raise UserError(
                    f"arch {text!r}: {gene.name} is {value}; space {self.name} allows {allowed}"
                )
        if str(arch) != text:
            raise UserError(f"arch {text!r} is not in canonical form, which is {arch}")
        return arch


_MOST = 2**16  # choices of a gene


def steps(low: int, high: int, step: int = 1) -> tuple[int, ...]:
    """The values from ``low`` to ``high``, both included; UserError where they are very many."""
    values = range(low, high + 1, step)
    if high - low > _MOST * step:
        raise UserError(
            f"space: from {low} to {high} in steps of {step} are more than {_MOST:,} choices; "
            "give fewer"
        )
    return tuple(values)
