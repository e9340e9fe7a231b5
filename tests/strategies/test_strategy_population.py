"""Evolution: who the parent is, who leaves, and whether it helps."""

import statistics
from typing import Any

import pytest
from scipy.stats import wilcoxon
from strategy_helpers import HILL, advance, begin, each_population, observed

from diswot.scoring.budget import Budget
from diswot.strategies import Observation


def best(member: str, seed: int, budget: Budget) -> float:
    strategy = begin(member, seed=seed, evaluations=300, budget=budget)
    scores: list[float] = []
    while len(scores) < 300:
        observations = observed(strategy.ask(), seed)
        scores += [each.score for each in observations if each.score is not None]
        strategy.tell(observations)
    return max(scores[:300])


@each_population
@pytest.mark.parametrize("limit", [None, 20])
def test_populations_beat_random_at_equal_evaluations(member: str, limit: int | None) -> None:
    budget = Budget(params=limit)
    own, baseline = ([best(m, seed, budget) for seed in range(20)] for m in (member, "random"))
    assert statistics.mean(own) > statistics.mean(baseline)
    assert wilcoxon(own, baseline, alternative="greater").pvalue < 0.05


def point(number: int) -> Any:
    return HILL.from_values([int(digit) for digit in f"{number:06o}"])


def scored(*scores: float | None, first: int = 0) -> list[Observation]:
    return [Observation(point(first + i), score) for i, score in enumerate(scores)]


def fitnesses(strategy: Any) -> list[float]:
    return [member.fitness for member in strategy.members]


def test_the_least_fit_leaves_evolution() -> None:
    strategy = begin("evolution", population=3, sample=3, top=1)
    strategy.tell(scored(5.0, 1.0, 3.0))
    strategy.tell(scored(2.0, first=10))
    assert fitnesses(strategy) == [5.0, 3.0, 2.0]
    strategy.tell(scored(0.5, first=20))  # worse than all: it leaves again
    assert fitnesses(strategy) == [5.0, 3.0, 2.0]
    strategy.tell(scored(9.0, 2.5, first=30))
    assert fitnesses(strategy) == [5.0, 3.0, 9.0]


def test_of_the_least_fit_the_first_leaves_and_a_repeat_joins_once() -> None:
    strategy = begin("evolution", population=3, sample=2, top=1)
    strategy.tell([*scored(2.0, 2.0), *scored(2.0, 2.0, 1.0, 1.0)])
    assert [member.arch for member in strategy.members] == [point(0), point(1), point(3)]


def test_the_oldest_leaves_aging_evolution() -> None:
    strategy = begin("aging_evolution", population=3, sample=3)
    strategy.tell(scored(5.0, 1.0, 3.0))
    strategy.tell(scored(0.5, first=10))
    assert fitnesses(strategy) == [1.0, 3.0, 0.5]
    strategy.tell(scored(2.0, 2.0, first=20))
    assert fitnesses(strategy) == [0.5, 2.0, 2.0]


@pytest.mark.parametrize(
    ("sample", "top", "least"),
    [(10, None, 9), (4, None, 3), (1, None, 0), (10, 3, 7), (6, 2, 4), (10, 1, 9)],
)
def test_the_parent_is_among_the_best_of_the_sample(
    sample: int, top: int | None, least: int
) -> None:
    """The best of four is never of the worst three."""
    settings = {"population": 10, "sample": sample}
    if top is None:
        strategy = begin("aging_evolution", **settings)
    else:
        strategy = begin("evolution", top=top, **settings)
    strategy.tell(scored(*map(float, (4, 9, 0, 7, 2, 5, 1, 8, 3, 6))))
    fitness = {member.arch: member.fitness for member in strategy.members}
    assert {fitness[strategy._parent()] for _ in range(400)} == set(range(least, 10))


@each_population
def test_children_are_mutations_of_members_who_stay(member: str) -> None:
    strategy = begin(member, population=20)
    advance(strategy, 4)
    before = [(each.arch, each.fitness) for each in strategy.members]
    for child in strategy.ask():
        places = [zip(child.places, arch.places, strict=True) for arch, _ in before]
        changed = [sum(a != b for a, b in pairs) for pairs in places]
        assert min(changed) <= 1
        assert 1 in changed
    assert [(each.arch, each.fitness) for each in strategy.members] == before


@each_population
def test_the_first_population_is_random_and_whole(member: str) -> None:
    strategy = begin(member, population=25, generation=10)
    assert [len(advance(strategy, 1)) for _ in range(4)] == [10, 10, 5, 10]
    advance(strategy, 10)
    assert len(strategy.members) <= 25


@each_population
def test_what_failed_never_joins_and_members_take_revised_scores(member: str) -> None:
    strategy = begin(member, population=4, sample=2, top=1)
    strategy.tell(scored(None, 1.0, None, 2.0))
    assert fitnesses(strategy) == [1.0, 2.0]
    assert strategy.ask()
    strategy.tell(scored(None, None, 3.0, first=10))
    assert fitnesses(strategy) == [1.0, 2.0, 3.0]
    strategy.revise({each.arch: -each.fitness for each in strategy.members})
    assert fitnesses(strategy) == [-1.0, -2.0, -3.0]


@each_population
def test_a_first_population_of_failures_is_drawn_anew(member: str) -> None:
    strategy = begin(member, population=10, generation=10)
    advance(strategy, 3, failing=1)
    assert len(strategy.ask()) == 10
    assert strategy.state_dict()["members"] == []
