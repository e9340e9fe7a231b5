"""Contract of every member of conf/strategy, the proposals they draw, and enumeration."""

import copy
import json
import random
from itertools import chain, product
from typing import Any

import pytest
from strategy_helpers import (
    HEAVY,
    HILL,
    SMALL,
    HillCosts,
    advance,
    begin,
    configured,
    each_member,
    each_population,
    node_of,
    observed,
    proposals,
    real_space,
)

from diswot.config import make
from diswot.errors import UserError
from diswot.scoring.budget import Budget, CostModel
from diswot.strategies import Observation, Proposals, Strategy


@each_member
@pytest.mark.parametrize("generation", [1, 7, 10])
def test_a_generation_is_asked_at_once(member: str, generation: int) -> None:
    strategy = begin(member, generation=generation, population=2 * generation + 6)
    for _ in range(8):
        asked = strategy.ask()
        assert 1 <= len(asked) <= generation
        assert all(HILL.parse(str(arch)) == arch for arch in asked)
        strategy.tell(observed(asked))
    assert len(strategy.ask()) == generation


@each_member
def test_the_seed_alone_says_what_is_asked(member: str) -> None:
    before = random.getstate()
    runs = [advance(begin(member, seed=seed), 8) for seed in (1, 1, 2)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2] or begin(member).ends
    assert random.getstate() == before


@each_member
@pytest.mark.parametrize("failing", [0, 3])
def test_the_saved_state_has_the_same_future(member: str, failing: int) -> None:
    settings = {"evaluations": 1000, "budget": Budget(params=18)}
    strategy = begin(member, **settings)
    for generation in range(7):
        text = json.dumps(strategy.state_dict(), allow_nan=False)
        resumed = begin(member, seed=99, **settings)
        resumed.load_state_dict(json.loads(text))
        assert json.dumps(resumed.state_dict()) == text
        ahead = copy.deepcopy(resumed)
        future = advance(ahead, 4, failing)
        own = advance(strategy, 1, failing)
        assert advance(resumed, 1, failing) == own == future[: len(own)], generation
        assert resumed.state_dict() == strategy.state_dict()


@each_member
def test_the_budget_is_kept_and_refusals_counted(member: str) -> None:
    strategy = begin(member, budget=Budget(params=6))
    asked = advance(strategy, 15)
    assert len(asked) > 100
    assert all(sum(arch.places) <= 6 for arch in asked)
    assert strategy.state_dict()["proposals"]["rejected"] == strategy.proposals.rejected > 0
    free = begin(member)
    advance(free, 5)
    assert free.proposals.rejected == 0


@each_member
def test_an_impossible_budget_ends_in_capped_tries(member: str) -> None:
    strategy = begin(member, space=SMALL, budget=Budget(params=1, max_tries=50))
    strategy.proposals.costs = HEAVY
    if strategy.ends:
        assert strategy.ask() == []
        return
    message = (
        r"no architecture of space hill with params ≤ 1 .* 50 tries; the nearest, hill:\d-\d-\d, "
        r"has 10\d params\. Raise the limit, or budget\.max_tries"
    )
    with pytest.raises(UserError, match=message):
        strategy.ask()
    assert strategy.proposals.rejected == 50


@each_member
def test_a_budget_few_keep_is_reached_by_walking(member: str) -> None:
    """Seven of 262,144: no sampling would find one."""
    strategy = begin(member, budget=Budget(params=1), evaluations=60, population=20)
    asked = advance(strategy, 6)
    assert {sum(arch.places) for arch in asked} <= {0, 1}
    assert len(asked) >= (7 if strategy.ends else 60)


@each_member
def test_real_spaces_are_searched_inside_their_budget(member: str) -> None:
    space = real_space("s0")
    strategy = begin(member, space=space, generation=3, population=3, sample=3)
    costs = CostModel(space, num_classes=10, image=(3, 32, 32))
    strategy.start(Proposals(space, Budget(params=1.5e5), costs, random.Random(0)))
    for _ in range(2):
        asked = strategy.ask()
        assert all(costs.params(arch) <= 1.5e5 for arch in asked)
        strategy.tell([Observation(arch, float(costs.flops(arch))) for arch in asked])


@each_member
def test_bad_numbers_are_refused(member: str) -> None:
    strategy = configured(member)
    assert (strategy.name, strategy.generation) == (member, 10)
    values = [0, 1.5, "many", True, float("nan"), *([] if strategy.ends else [None])]
    for setting, value in product(("evaluations", "generation"), values):
        with pytest.raises(UserError, match=rf"strategy\.{setting}=.* give a whole number"):
            configured(member, **{setting: value})
    assert not strategy.ends or configured(member, evaluations=None).evaluations is None


@each_population
def test_bad_populations_are_refused(member: str) -> None:
    for settings, message in (
        ({"population": 0}, r"strategy\.population=0 is not"),
        ({"population": 5, "sample": 6}, r"strategy\.sample=6: at most strategy\.population=5"),
        ({"sample": 0}, r"strategy\.sample=0 is not"),
        ({"sample": 3, "top": 4}, r"strategy\.top=4: at most strategy\.sample=3"),
        ({"top": 0}, r"strategy\.top=0 is not"),
    ):
        if not settings.keys() <= node_of("strategy", member).keys():
            continue
        with pytest.raises(UserError, match=message):
            configured(member, **settings)


def test_two_limits_few_keep_are_reached_by_walking() -> None:
    """The second limit is broken by far wherever the first is kept by little."""
    costs = HillCosts(flops=lambda arch: 1 + 100 * sum(arch.places[:3]))
    for seed in range(5):
        places = proposals(seed=seed, budget=Budget(params=2, flops=1), costs=costs).sample().places
        assert sum(places) <= 2
        assert not any(places[:3])


def test_tries_may_be_written_as_1e4_and_few_are_few() -> None:
    node = {**node_of("budget", "default"), "max_tries": 1e4, "params": 5}
    assert sum(proposals(budget=make(node, "budget", Budget)).sample().places) <= 5
    for max_tries in (1, 2, 3):
        few = proposals(budget=Budget(params=1, max_tries=max_tries))
        with pytest.raises(UserError, match=rf"in {max_tries} tries"):
            few.sample()
        assert few.rejected == max_tries


def test_a_budget_near_the_smallest_network_of_s1_is_found() -> None:
    """Narrow stem and first stage cost more one by one than both together."""
    space = real_space("s1")
    costs = CostModel(space, num_classes=10, image=(3, 32, 32))
    assert costs.params(space.parse("s1:8/n3x1-8-8/n3x1-8-8/n3x1-8-8")) == 2738
    budget = Budget(params=4000, max_tries=4000)
    assert costs.params(Proposals(space, budget, costs, random.Random(0)).sample()) <= 4000


def exhaustive(**settings: Any) -> Strategy:
    return begin("exhaustive", **{"space": SMALL, "evaluations": None, **settings})


def tight() -> Strategy:
    return exhaustive(budget=Budget(params=2), generation=3)


def all_of(strategy: Strategy) -> list[Any]:
    return list(chain.from_iterable(iter(strategy.ask, [])))


@pytest.mark.parametrize("generation", [1, 5, 9, 100])
def test_each_is_asked_once_in_order(generation: int) -> None:
    strategy = exhaustive(generation=generation)
    parts = list(iter(strategy.ask, []))
    assert list(chain.from_iterable(parts)) == list(SMALL.enumerate())
    assert all(len(part) == generation for part in parts[:-1])
    assert strategy.ask() == []


def test_it_goes_on_where_it_was_saved_and_counts_no_refusal_twice() -> None:
    whole, strategy, asked = tight(), tight(), []
    while part := strategy.ask():
        asked += part
        state = json.loads(json.dumps(strategy.state_dict()))
        strategy = tight()
        strategy.load_state_dict(state)
    assert asked == all_of(whole) == [arch for arch in SMALL.enumerate() if sum(arch.places) <= 2]
    assert strategy.proposals.rejected == whole.proposals.rejected == 27 - len(asked) == 17


def test_a_large_space_needs_evaluations() -> None:
    space = real_space("s1")
    with pytest.raises(UserError, match=r"space s1 has 1.48e\+13 architectures; set"):
        exhaustive(space=space)
    assert len(set(exhaustive(space=space, evaluations=25).ask())) == 10
