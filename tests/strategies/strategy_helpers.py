"""A search problem without networks: a planted optimum on a rugged hill."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any

import pytest

from diswot.commands import compose
from diswot.config import conf_dir, make
from diswot.errors import UserError
from diswot.keys import stable_hash
from diswot.scoring.budget import Budget
from diswot.spaces import Space
from diswot.spaces.base import Gene, ProductSpace, Value, steps
from diswot.strategies import Observation, Proposals, Strategy


@cache
def node_of(group: str, member: str) -> dict[str, Any]:
    return compose("search", [f"{group}={member}"], None)[group]


FILES = sorted((conf_dir() / "strategy").glob("*.yaml"))
each_member = pytest.mark.parametrize("member", [file.stem for file in FILES])
each_population = pytest.mark.parametrize(
    "member", [file.stem for file in FILES if "\npopulation:" in file.read_text()]
)


def real_space(name: str) -> Space:
    return make(node_of("space", name), "space", Space)


@dataclass(frozen=True)
class Point:
    """Text ``hill:1-2-3``."""

    places: tuple[int, ...]

    def __str__(self) -> str:
        return "hill:" + "-".join(map(str, self.places))


class Hill(ProductSpace[Point]):
    """The nearer the optimum, the higher, but for bumps; nothing here can be built."""

    embedding_width = None

    def __init__(self, genes: int = 6, choices: int = 8) -> None:
        made = [Gene(f"gene {i}", steps(0, choices - 1), ordered=True) for i in range(genes)]
        super().__init__(name="hill", genes=made)

    def from_values(self, values: Sequence[Value]) -> Point:
        return Point(tuple(map(int, values)))

    def values(self, arch: Point) -> tuple[Value, ...]:
        return arch.places

    def parse(self, text: str) -> Point:
        if not re.fullmatch(r"hill:\d+(-\d+)*", text):
            raise UserError(f"arch {text!r} is not of space hill")
        return self.checked(Point(tuple(map(int, text[5:].split("-")))), text)

    def build(self, arch: Any, *, num_classes: int, in_channels: int = 3) -> Any:
        raise AssertionError("a strategy builds no networks")

    def score(self, arch: Point, seed: int = 0) -> float:
        """Minus the distance to the optimum of ``seed``, and a bump of its own."""
        rng = Random(stable_hash("optimum", seed))
        optimum = [rng.choice(gene.choices) for gene in self.genes]
        distance = sum(abs(a - int(b)) for a, b in zip(arch.places, optimum, strict=True))
        return -distance + stable_hash("bump", seed, str(arch)) / 2**64


HILL = Hill()
SMALL = Hill(genes=3, choices=3)


class HillCosts:
    """Parameters are the sum of the places; others can be given."""

    def __init__(self, **counts: Callable[[Point], int]) -> None:
        self.counts = {"params": lambda arch: sum(arch.places), **counts}

    def count(self, name: str, arch: Point) -> int:
        return self.counts[name](arch)


HEAVY = HillCosts(params=lambda arch: 100 + sum(arch.places))


def proposals(
    space: Any = HILL, *, seed: int = 0, budget: Budget | None = None, costs: Any = None
) -> Proposals:
    return Proposals(space, budget or Budget(), costs or HillCosts(), Random(seed))


def configured(member: str, **settings: Any) -> Strategy:
    """A member of conf/strategy; settings that it does not have are left out."""
    node = node_of("strategy", member)
    return make({**node, **{k: v for k, v in settings.items() if k in node}}, "strategy", Strategy)


def begin(
    member: str, *, space: Any = HILL, seed: int = 0, budget: Budget | None = None, **settings: Any
) -> Any:
    """A member that has been started, by default with a small population."""
    small = {"evaluations": 200, "population": 20, "generation": 10, "sample": 6}
    strategy = configured(member, **{**small, **settings})
    strategy.start(proposals(space, seed=seed, budget=budget))
    return strategy


def observed(archs: Iterable[Any], seed: int = 0, failing: int = 0) -> list[Observation]:
    """Scores; every ``failing``-th cannot be scored."""
    lost = [failing > 0 and place % failing == 0 for place, _ in enumerate(archs)]
    scores = [None if each else HILL.score(a, seed) for a, each in zip(archs, lost, strict=True)]
    return [Observation(arch, score) for arch, score in zip(archs, scores, strict=True)]


def advance(strategy: Strategy, generations: int, failing: int = 0) -> list[Any]:
    """Architectures asked in some generations."""
    asked = []
    for _ in range(generations):
        asked.append(strategy.ask())
        strategy.tell(observed(asked[-1], failing=failing))
    return [arch for archs in asked for arch in archs]
