"""NSGA-II: who the parent is, who leaves, and whether the front is better than random search's."""

import statistics
from typing import Any

import pytest
from strategy_helpers import HILL, begin, configured, observed

from diswot.errors import UserError
from diswot.strategies import Observation
from diswot.strategies.population import Member


def point(first: int, second: int) -> Any:
    return HILL.from_values([first, second, 0, 0, 0, 0])


def test_the_crowded_and_the_dominated_leave() -> None:
    """Costs are the sum of the places."""
    strategy = begin("nsga2", population=4, sample=2, objectives=["fitness", "params"])
    front = [Observation(point(p, 0), float(p)) for p in (0, 3, 4, 7)]
    dominated = Observation(point(5, 0), 1.0)
    strategy.tell([*front[:2], dominated, *front[2:]])
    assert [member.arch for member in strategy.members] == [each.arch for each in front]
    strategy.tell([Observation(point(1, 4), 5.0)])  # its neighbours are near, the ends stay
    left = {sum(member.arch.places) for member in strategy.members}
    assert {0, 7} <= left
    assert len(left) == 4


def test_the_parent_is_of_the_first_front() -> None:
    strategy = begin("nsga2", population=6, sample=6)
    strategy.tell(
        [Observation(point(p, 0), s) for p, s in ((0, 1.0), (1, 0.5), (2, 0.4), (3, 2.0))]
    )
    strategy.ask()
    assert {strategy._parent().places[0] for _ in range(20)} == {0}  # of two ends the first
    assert strategy.select_parent([Member(point(1, 0), 0.5), Member(point(2, 0), 0.4)]).arch == (
        point(1, 0)
    )


def area(points: list[tuple[float, float]]) -> float:
    """What is dominated below a corner: cost 42, score -30."""
    total, best = 0.0, -30.0
    for cost, score in sorted(points, key=lambda each: (each[0], -each[1])):
        total += max(0.0, score - best) * (42 - cost)
        best = max(best, score)
    return total


def searched(member: str, seed: int) -> float:
    strategy = begin(member, seed=seed, evaluations=300)
    points: list[tuple[float, float]] = []
    while len(points) < 300:
        observations = observed(strategy.ask(), seed)
        points += [(sum(each.arch.places), each.score or 0.0) for each in observations]
        strategy.tell(observations)
    return area(points)


def test_its_front_is_better_than_that_of_random_search() -> None:
    own, baseline = (
        [searched(member, seed) for seed in range(5)] for member in ("nsga2", "random")
    )
    assert statistics.mean(own) > 1.1 * statistics.mean(baseline)
    assert all(a > b for a, b in zip(own, baseline, strict=True))


@pytest.mark.parametrize(
    "objectives",
    [
        "fitness",
        [],
        ["fitness"],
        ["params", "flops"],
        ["fitness", "speed"],
        ["fitness"] * 2,
        [1, 2],
    ],
)
def test_bad_objectives_are_refused(objectives: Any) -> None:
    with pytest.raises(UserError, match=r"strategy\.objectives=.* is not allowed; give a list of"):
        configured("nsga2", objectives=objectives)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diswot.strategies.pareto.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"strategy=nsga2: .* pip install 'diswot\[pareto\]'"):
        configured("nsga2")
