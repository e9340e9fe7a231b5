"""A search problem without networks: a planted optimum on a rugged hill."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any, ClassVar

import pytest

from diswot.commands import compose
from diswot.config import conf_dir, make
from diswot.errors import UserError
from diswot.keys import stable_hash
from diswot.scoring.budget import Budget
from diswot.spaces.product import Gene, ProductSpace, Value, steps
from diswot.strategies import Proposals, Strategy

MEMBERS = sorted(path.stem for path in (conf_dir() / "strategy").glob("*.yaml"))


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


class HillCosts:
    """Parameters are the sum of the places."""

    def params(self, arch: Point) -> int:
        return sum(arch.places)

    def measures(self) -> dict[str, Callable[[Point], int]]:
        return {"params": self.params}


@dataclass(frozen=True, kw_only=True)
class Watched(Budget):
    """Counts the candidates that were refused."""

    refused: ClassVar[list[str]] = []

    def excess(self, arch: Any, costs: Any, enough: float = math.inf) -> float:
        found = super().excess(arch, costs, enough)
        if found > 0:
            self.refused.append(str(arch))
        return found


Begin = Callable[..., Strategy]


@cache
def node_of(member: str) -> dict[str, Any]:
    return compose("search", [f"strategy={member}"], None)["strategy"]


def configured(member: str, **settings: Any) -> Strategy:
    """A member of conf/strategy with the settings it has."""
    node = node_of(member)
    return make({**node, **{k: v for k, v in settings.items() if k in node}}, "strategy", Strategy)


def proposals(space: Any, *, seed: int = 0, budget: Budget | None = None) -> Proposals:
    return Proposals(space, budget or Budget(), HillCosts(), Random(seed))  # type: ignore[arg-type]


@pytest.fixture(scope="session", params=MEMBERS)
def member(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def begin() -> Begin:
    """Starts a member on a hill; unknown settings are left to the members that have them."""

    def start(
        member: str,
        *,
        space: Any = None,
        seed: int = 0,
        budget: Budget | None = None,
        **settings: Any,
    ) -> Strategy:
        defaults = {"evaluations": 200, "population": 20, "generation": 10, "sample": 6}
        strategy = configured(member, **{**defaults, **settings})
        strategy.start(proposals(space or Hill(), seed=seed, budget=budget))
        return strategy

    return start


@pytest.fixture(scope="session")
def make_strategy() -> Callable[..., Strategy]:
    return configured


@pytest.fixture(scope="session")
def hill() -> Hill:
    return Hill()


@pytest.fixture(scope="session")
def hill_type() -> type[Hill]:
    return Hill


@pytest.fixture(scope="session")
def make_proposals() -> Callable[..., Proposals]:
    return proposals


@pytest.fixture
def watched() -> type[Watched]:
    Watched.refused.clear()
    return Watched
