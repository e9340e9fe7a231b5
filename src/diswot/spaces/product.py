"""Spaces that are a product of independent choices."""

from __future__ import annotations

import itertools
import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from diswot.errors import UserError
from diswot.spaces.base import Arch, Space, SpaceSize

if TYPE_CHECKING:
    from random import Random

__all__ = ["Gene", "ProductSpace", "steps"]

A = TypeVar("A", bound=Arch)
Value = int | str


@dataclass(frozen=True)
class Gene:
    """One choice of an architecture.

    Attributes:
        name: Said in messages, such as ``depth of stage 2``.
        choices: Allowed values; in ascending order where ``ordered``.
        ordered: Whether neighbouring values are alike, so that a mutation moves by at most a
            quarter of the range instead of anywhere.
    """

    name: str
    choices: tuple[Value, ...]
    ordered: bool = False

    def mutate(self, value: Value, rng: Random) -> Value:
        """Draw another value."""
        here = self.choices.index(value)
        reach = max(1, len(self.choices) // 4) if self.ordered else len(self.choices)
        low, high = max(0, here - reach), min(len(self.choices) - 1, here + reach)
        return self.choices[rng.choice([i for i in range(low, high + 1) if i != here])]


class ProductSpace(Space, Generic[A]):
    """A space whose architectures are all combinations of its genes' choices.

    A family gives its genes and how to turn values into an architecture and back.

    Args:
        name: See `Space`.
        genes: The choices; a gene with one choice is fixed.
        default_budget: See `Space`.

    Raises:
        UserError: A gene without choices, or with the same one twice.
    """

    additive: bool = False
    """Whether every choice adds the same parameters, MACs and layers whatever the others are."""

    def __init__(
        self,
        *,
        name: str,
        genes: Sequence[Gene],
        default_budget: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(name=name, default_budget=default_budget)
        self.genes = tuple(genes)
        for gene in self.genes:
            if not gene.choices or len(set(gene.choices)) != len(gene.choices):
                raise UserError(
                    f"space={name}: {gene.name} has the choices {list(gene.choices)}; "
                    "at least one is needed, and each only once"
                )

    @property
    def size(self) -> SpaceSize:
        """The product of the numbers of choices: exact."""
        return SpaceSize(math.prod(len(gene.choices) for gene in self.genes))

    @abstractmethod
    def from_values(self, values: Sequence[Value]) -> A:
        """The architecture of one value a gene."""

    @abstractmethod
    def values(self, arch: A) -> tuple[Value, ...]:
        """The values of an architecture, in gene order."""

    def sample(self, rng: Random) -> A:
        """Draw every gene uniformly."""
        return self.from_values([rng.choice(gene.choices) for gene in self.genes])

    def mutate(self, arch: A, rng: Random) -> A:  # type: ignore[override]
        """Change one gene, drawn uniformly among those that have a choice."""
        values = list(self.values(arch))
        free = [i for i, gene in enumerate(self.genes) if len(gene.choices) > 1]
        if not free:
            raise UserError(f"space={self.name}: holds a single architecture: nothing to mutate")
        index = rng.choice(free)
        values[index] = self.genes[index].mutate(values[index], rng)
        return self.from_values(values)

    def summands(self, arch: A) -> list[A]:  # type: ignore[override]
        """See `Space`; the first choices, and every other choice of ``arch`` alone."""
        if not self.additive:
            return []
        first = [gene.choices[0] for gene in self.genes]
        changed = [(i, v) for i, v in enumerate(self.values(arch)) if v != first[i]]
        alone = ([*first[:i], value, *first[i + 1 :]] for i, value in changed)
        return [self.from_values(values) for values in (first, *alone)]

    def enumerate(self) -> Iterator[A]:
        """All combinations, the last gene changing fastest."""
        for values in itertools.product(*(gene.choices for gene in self.genes)):
            yield self.from_values(values)

    def checked(self, arch: A, text: str) -> A:
        """``arch`` if every value is among its gene's choices and ``text`` is its canonical form.

        Raises:
            UserError: Names the first value that is not, or gives the canonical form.
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


def steps(low: int, high: int, step: int = 1) -> tuple[int, ...]:
    """The values from ``low`` to ``high``, both included."""
    return tuple(range(low, high + 1, step))
