"""Evolution: who the parent is, who leaves, and whether it helps."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import pytest
from scipy.stats import wilcoxon

from diswot.config import conf_dir
from diswot.errors import UserError
from diswot.scoring.budget import Budget
from diswot.strategies import Observation, Strategy
from diswot.strategies.aging_evolution import AgingEvolution
from diswot.strategies.evolution import Evolution
from diswot.strategies.population import Member, PopulationStrategy

Begin = Callable[..., Strategy]
POPULATIONS = sorted(
    path.stem
    for path in (conf_dir() / "strategy").glob("*.yaml")
    if "\npopulation:" in path.read_text()
)
SEEDS = range(20)


def best(strategy: Strategy, hill: Any, seed: int) -> float:
    scores: list[float] = []
    assert strategy.evaluations is not None
    while len(scores) < strategy.evaluations:
        told = [Observation(arch, hill.score(arch, seed)) for arch in strategy.ask()]
        scores += [one.score for one in told if one.score is not None]
        strategy.tell(told)
    return max(scores[: strategy.evaluations])


@pytest.mark.parametrize("member", POPULATIONS)
@pytest.mark.parametrize("budget", [None, 20])
def test_populations_beat_random_at_equal_evaluations(
    member: str, begin: Begin, hill: Any, budget: int | None
) -> None:
    limits = Budget(params=budget)
    found = {
        name: [
            best(begin(name, seed=seed, evaluations=300, budget=limits), hill, seed)
            for seed in SEEDS
        ]
        for name in (member, "random")
    }
    assert statistics.mean(found[member]) > statistics.mean(found["random"])
    assert wilcoxon(found[member], found["random"], alternative="greater").pvalue < 0.05


def grown(strategy: Strategy, hill: Any, generations: int) -> PopulationStrategy:
    assert isinstance(strategy, PopulationStrategy)
    for _ in range(generations):
        strategy.tell([Observation(arch, hill.score(arch)) for arch in strategy.ask()])
    return strategy


def point(hill: Any, number: int) -> Any:
    return hill.from_values([int(digit) for digit in f"{number:06o}"])


def told(hill: Any, *scores: float | None, first: int = 0) -> list[Observation]:
    return [Observation(point(hill, first + i), score) for i, score in enumerate(scores)]


def fitnesses(strategy: Any) -> list[float]:
    return [member.fitness for member in strategy.members]


def test_the_least_fit_leaves_evolution(begin: Begin, hill: Any) -> None:
    strategy = begin("evolution", population=3, sample=3, top=1)
    strategy.tell(told(hill, 5.0, 1.0, 3.0))
    strategy.tell(told(hill, 2.0, first=10))
    assert fitnesses(strategy) == [5.0, 3.0, 2.0]
    strategy.tell(told(hill, 0.5, first=20))  # worse than all: it leaves again
    assert fitnesses(strategy) == [5.0, 3.0, 2.0]
    strategy.tell(told(hill, 9.0, 2.5, first=30))
    assert fitnesses(strategy) == [5.0, 3.0, 9.0]


def test_of_the_least_fit_the_first_leaves(begin: Begin, hill: Any) -> None:
    strategy = begin("evolution", population=2, sample=2, top=1)
    strategy.tell(told(hill, 1.0, 1.0, 1.0))
    assert [member.arch for member in strategy.members] == [point(hill, 1), point(hill, 2)]


def test_a_repeat_joins_evolution_once(begin: Begin, hill: Any) -> None:
    strategy = begin("evolution", population=4, sample=3, top=1)
    strategy.tell([*told(hill, 1.0, 2.0), *told(hill, 1.0, 2.0)])
    assert fitnesses(strategy) == [1.0, 2.0]


def test_the_oldest_leaves_aging_evolution(begin: Begin, hill: Any) -> None:
    strategy = begin("aging_evolution", population=3, sample=3)
    strategy.tell(told(hill, 5.0, 1.0, 3.0))
    strategy.tell(told(hill, 0.5, first=10))
    assert fitnesses(strategy) == [1.0, 3.0, 0.5]
    strategy.tell(told(hill, 2.0, 2.0, first=20))
    assert fitnesses(strategy) == [0.5, 2.0, 2.0]


def parents(strategy: Any, draws: int = 400) -> set[float]:
    fitness = {member.arch: member.fitness for member in strategy.members}
    return {fitness[strategy._parent()] for _ in range(draws)}


def test_the_parent_is_the_best_of_the_sample(begin: Begin, hill: Any) -> None:
    scores = [float(i) for i in range(10)]
    whole = begin("aging_evolution", population=10, sample=10)
    whole.tell(told(hill, *scores))
    assert parents(whole) == {9.0}
    some = begin("aging_evolution", population=10, sample=4)
    some.tell(told(hill, *scores))
    assert parents(some) == set(scores[3:])  # the fittest of four is never among the worst three
    one = begin("aging_evolution", population=10, sample=1)
    one.tell(told(hill, *scores))
    assert parents(one) == set(scores)


def test_the_parent_is_among_the_top_of_the_sample(begin: Begin, hill: Any) -> None:
    scores = [float(i) for i in (4, 9, 0, 7, 2, 5, 1, 8, 3, 6)]
    whole = begin("evolution", population=10, sample=10, top=3)
    whole.tell(told(hill, *scores))
    assert parents(whole) == {9.0, 8.0, 7.0}
    some = begin("evolution", population=10, sample=6, top=2)
    some.tell(told(hill, *scores))
    assert parents(some) == {float(i) for i in range(4, 10)}
    one = begin("evolution", population=10, sample=10, top=1)
    one.tell(told(hill, *scores))
    assert parents(one) == {9.0}


def test_choices_are_sorted_from_the_fittest_down(begin: Begin, hill: Any) -> None:
    drawn = [Member(point(hill, i), float(-i)) for i in range(4)]
    for name in ("evolution", "aging_evolution"):
        strategy = begin(name, top=1)
        assert isinstance(strategy, Evolution | AgingEvolution)
        assert strategy.choose(drawn) is drawn[0]


@pytest.mark.parametrize("member", POPULATIONS)
def test_children_are_mutations_of_members(member: str, begin: Begin, hill: Any) -> None:
    strategy = grown(begin(member, population=20), hill, 2)
    known = [one.arch.places for one in strategy.members]
    for child in strategy.ask():
        changed = [sum(a != b for a, b in zip(child.places, other, strict=True)) for other in known]
        assert min(changed) <= 1
        assert 1 in changed


@pytest.mark.parametrize("member", POPULATIONS)
def test_asking_does_not_change_the_population(member: str, begin: Begin, hill: Any) -> None:
    strategy = grown(begin(member, population=10), hill, 4)
    before = [(one.arch, one.fitness) for one in strategy.members]
    strategy.ask()
    assert [(one.arch, one.fitness) for one in strategy.members] == before


@pytest.mark.parametrize("member", POPULATIONS)
def test_the_first_population_is_random_and_whole(member: str, begin: Begin, hill: Any) -> None:
    strategy = begin(member, population=25, generation=10)
    sizes = []
    for _ in range(4):
        asked = strategy.ask()
        sizes.append(len(asked))
        strategy.tell([Observation(arch, hill.score(arch)) for arch in asked])
    assert sizes == [10, 10, 5, 10]
    assert len(grown(strategy, hill, 10).members) <= 25


@pytest.mark.parametrize("member", POPULATIONS)
def test_what_failed_never_joins(member: str, begin: Begin, hill: Any) -> None:
    strategy = begin(member, population=4, sample=2, top=1)
    strategy.tell(told(hill, None, 1.0, None, 2.0))
    assert fitnesses(strategy) == [1.0, 2.0]
    assert strategy.ask()
    strategy.tell(told(hill, None, None, 3.0, first=10))
    assert fitnesses(strategy) == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("member", POPULATIONS)
def test_a_first_population_of_failures_is_drawn_anew(member: str, begin: Begin, hill: Any) -> None:
    strategy = begin(member, population=10, generation=10)
    for _ in range(3):
        strategy.tell([Observation(arch, None) for arch in strategy.ask()])
    assert len(strategy.ask()) == 10
    assert strategy.state_dict()["members"] == []


@pytest.mark.parametrize("member", POPULATIONS)
def test_members_take_revised_scores(member: str, begin: Begin, hill: Any) -> None:
    strategy = begin(member, population=3, sample=2, top=1)
    strategy.tell(told(hill, 1.0, 2.0, 3.0))
    strategy.revise({point(hill, i): -float(i) for i in range(5)})
    assert fitnesses(strategy) == [0.0, -1.0, -2.0]


def test_top_is_bounded_by_the_sample(make_strategy: Callable[..., Strategy]) -> None:
    with pytest.raises(UserError, match=r"strategy\.top=4: at most strategy\.sample=3"):
        make_strategy("evolution", sample=3, top=4)
    with pytest.raises(UserError, match=r"strategy\.top=0 is not"):
        make_strategy("evolution", top=0)
