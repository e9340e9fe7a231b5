"""What every member of conf/strategy keeps."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from diswot.commands import compose
from diswot.config import conf_dir, make
from diswot.errors import UserError
from diswot.scoring.budget import Budget, CostModel
from diswot.spaces import Space
from diswot.strategies import Observation, Proposals, Strategy

Begin = Callable[..., Strategy]
POPULATIONS = sorted(
    path.stem
    for path in (conf_dir() / "strategy").glob("*.yaml")
    if "\npopulation:" in path.read_text()
)


def advance(strategy: Strategy, hill: Any, generations: int, failing: int = 0) -> list[str]:
    """Texts asked in some generations; every ``failing``-th cannot be scored."""
    asked_texts: list[str] = []
    for _ in range(generations):
        asked = strategy.ask()
        told = [
            Observation(arch, None if failing and index % failing == 0 else hill.score(arch))
            for index, arch in enumerate(asked)
        ]
        strategy.tell(told)
        asked_texts += map(str, asked)
    return asked_texts


def test_members_know_their_settings(member: str, make_strategy: Callable[..., Strategy]) -> None:
    strategy = make_strategy(member)
    assert strategy.name == member
    assert strategy.generation == 10
    assert strategy.evaluations is not None or strategy.ends


@pytest.mark.parametrize("generation", [1, 7, 10])
def test_a_generation_is_asked_at_once(
    member: str, begin: Begin, hill: Any, generation: int
) -> None:
    strategy = begin(member, generation=generation, population=2 * generation + 6)
    for _ in range(8):
        asked = strategy.ask()
        assert 1 <= len(asked) <= generation
        assert all(hill.parse(str(arch)) == arch for arch in asked)
        strategy.tell([Observation(arch, hill.score(arch)) for arch in asked])
    assert len(strategy.ask()) == generation


def test_the_same_seed_asks_the_same(member: str, begin: Begin, hill: Any) -> None:
    runs = [advance(begin(member, seed=seed), hill, 8) for seed in (1, 1, 2)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2] or begin(member).ends


def test_asking_draws_from_no_global_state(member: str, begin: Begin, hill: Any) -> None:
    import random

    before = random.getstate()
    advance(begin(member), hill, 5)
    assert random.getstate() == before


@pytest.mark.parametrize("failing", [0, 3])
def test_the_saved_state_has_the_same_future(
    member: str, begin: Begin, hill: Any, failing: int
) -> None:
    settings = {"evaluations": 1000, "budget": Budget(params=18)}
    strategy = begin(member, **settings)
    for generation in range(7):
        text = json.dumps(strategy.state_dict(), allow_nan=False)
        resumed = begin(member, seed=99, **settings)
        resumed.load_state_dict(json.loads(text))
        assert json.dumps(resumed.state_dict()) == text
        kept = copy.deepcopy(resumed)
        assert advance(resumed, hill, 4, failing) == advance(kept, hill, 4, failing)
        asked = advance(strategy, hill, 1, failing)
        again = begin(member, seed=99, **settings)
        again.load_state_dict(json.loads(text))
        assert advance(again, hill, 1, failing) == asked, generation
        assert again.state_dict() == strategy.state_dict()


def test_the_budget_is_kept_and_refusals_counted(
    member: str, begin: Begin, hill: Any, watched: Any
) -> None:
    strategy = begin(member, budget=watched(params=6))
    asked = advance(strategy, hill, 15)
    assert len(asked) > 100
    assert all(sum(hill.parse(text).places) <= 6 for text in asked)
    assert strategy.proposals.rejected == len(watched.refused) > 0
    assert strategy.state_dict()["proposals"]["rejected"] == len(watched.refused)


def test_no_budget_refuses_nothing(member: str, begin: Begin, hill: Any) -> None:
    strategy = begin(member)
    advance(strategy, hill, 5)
    assert strategy.proposals.rejected == 0


def test_an_impossible_budget_ends_in_capped_tries(
    member: str, begin: Begin, hill_type: Any, watched: Any
) -> None:
    space = hill_type(genes=3, choices=3)
    strategy = begin(member, space=space, budget=watched(params=1, max_tries=50))
    strategy.proposals.costs = _Heavy()  # type: ignore[assignment]
    if strategy.ends:
        assert strategy.ask() == []
        return
    with pytest.raises(UserError, match=r"no architecture of space hill with params ≤ 1 .* 50 "):
        strategy.ask()
    assert len(watched.refused) == strategy.proposals.rejected == 50


class _Heavy:
    def measures(self) -> dict[str, Any]:
        return {"params": lambda arch: 100 + sum(arch.places)}


def test_an_impossible_budget_names_the_nearest(
    make_proposals: Callable[..., Any], hill: Any
) -> None:
    found = make_proposals(hill, budget=Budget(params=1, max_tries=200))
    found.costs = _Heavy()
    with pytest.raises(UserError) as caught:
        found.sample()
    assert "the nearest, hill:0-0-0-0-0-0, has 100 params" in str(caught.value)
    assert "Raise the limit, or budget.max_tries" in str(caught.value)


def test_a_budget_few_keep_is_reached_by_walking(member: str, begin: Begin, hill: Any) -> None:
    """Seven of 262,144: no sampling would find one."""
    strategy = begin(member, budget=Budget(params=1), evaluations=60, population=20)
    asked = advance(strategy, hill, 6)
    assert {sum(hill.parse(text).places) for text in asked} <= {0, 1}
    assert len(asked) >= (7 if strategy.ends else 60)


class _TwoCosts:
    """The second limit is broken by far wherever the first is kept by little."""

    def measures(self) -> dict[str, Any]:
        return {
            "params": lambda arch: sum(arch.places),
            "flops": lambda arch: 1 + 100 * sum(arch.places[:3]),
        }


def test_two_limits_few_keep_are_reached_by_walking(make_proposals: Any, hill: Any) -> None:
    for seed in range(5):
        found = make_proposals(hill, seed=seed, budget=Budget(params=2, flops=1))
        found.costs = _TwoCosts()
        places = found.sample().places
        assert sum(places) <= 2
        assert not any(places[:3])


def test_tries_may_be_written_as_1e4(make_proposals: Any, hill: Any) -> None:
    node = compose("search", ["budget.max_tries=1e4"], None)["budget"]
    budget = make({**node, "params": 5}, "budget", Budget)
    assert sum(make_proposals(hill, budget=budget).sample().places) <= 5


@pytest.mark.parametrize("max_tries", [1, 2, 3])
def test_few_tries_are_few(make_proposals: Any, hill: Any, watched: Any, max_tries: int) -> None:
    found = make_proposals(hill, budget=watched(params=1, max_tries=max_tries))
    with pytest.raises(UserError, match=rf"in {max_tries} tries"):
        found.sample()
    assert len(watched.refused) == max_tries


def test_mutations_keep_the_budget_too(make_proposals: Any, hill: Any) -> None:
    found = make_proposals(hill, budget=Budget(params=3))
    parent = hill.parse("hill:1-1-1-0-0-0")
    for _ in range(50):
        child = found.mutate(parent)
        assert child != parent
        assert sum(child.places) <= 3


@pytest.mark.parametrize("value", [0, -1, 1.5, "many", True, float("nan")])
@pytest.mark.parametrize("setting", ["evaluations", "generation"])
def test_bad_numbers_are_refused(
    member: str, make_strategy: Callable[..., Strategy], setting: str, value: Any
) -> None:
    with pytest.raises(UserError, match=rf"strategy\.{setting}=.* give a whole number"):
        make_strategy(member, **{setting: value})


def test_only_what_ends_needs_no_evaluations(
    member: str, make_strategy: Callable[..., Strategy]
) -> None:
    if make_strategy(member).ends:
        assert make_strategy(member, evaluations=None).evaluations is None
        return
    with pytest.raises(UserError, match=r"strategy\.evaluations=None"):
        make_strategy(member, evaluations=None)


@pytest.mark.parametrize("member", POPULATIONS)
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"population": 0}, r"strategy\.population=0 is not"),
        ({"population": 5, "sample": 6}, r"strategy\.sample=6: at most strategy\.population=5"),
        ({"sample": 0}, r"strategy\.sample=0 is not"),
    ],
)
def test_bad_populations_are_refused(
    make_strategy: Callable[..., Strategy], member: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        make_strategy(member, **settings)


def test_real_spaces_are_searched_inside_their_budget(member: str, begin: Begin) -> None:
    from random import Random

    from diswot.scoring.budget import CostModel
    from diswot.strategies import Proposals

    space = make(compose("search", ["space=s0"], None)["space"], "space", Space)
    strategy = begin(member, space=space, generation=3, population=3, sample=3)
    costs = CostModel(space, num_classes=10, image=(3, 32, 32))
    strategy.start(Proposals(space, Budget(params=1.5e5), costs, Random(0)))
    for _ in range(2):
        asked = strategy.ask()
        assert all(costs.params(arch) <= 1.5e5 for arch in asked)
        strategy.tell([Observation(arch, float(costs.flops(arch))) for arch in asked])


@pytest.mark.parametrize("limit", [4000, 5000])
def test_budgets_near_the_smallest_network_of_s1_are_found(limit: int) -> None:
    """Narrow stem and first stage cost more one by one than both together."""
    space = make(compose("search", ["space=s1"], None)["space"], "space", Space)
    costs = CostModel(space, num_classes=10, image=(3, 32, 32))
    smallest = space.parse("s1:8/n3x1-8-8/n3x1-8-8/n3x1-8-8")
    assert costs.params(smallest) == 2738
    budget = Budget(params=limit, max_tries=4000)
    assert costs.params(Proposals(space, budget, costs, Random(0)).sample()) <= limit
