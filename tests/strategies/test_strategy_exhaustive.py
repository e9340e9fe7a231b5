"""Every architecture once."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from diswot.commands import compose
from diswot.config import make
from diswot.errors import UserError
from diswot.scoring.budget import Budget
from diswot.spaces import Space
from diswot.strategies import Strategy

Begin = Callable[..., Strategy]


def all_of(strategy: Strategy) -> list[list[Any]]:
    generations = []
    while asked := strategy.ask():
        generations.append(asked)
    return generations


@pytest.mark.parametrize("generation", [1, 5, 9, 100])
def test_each_is_asked_once_in_order(begin: Begin, hill_type: Any, generation: int) -> None:
    space = hill_type(genes=3, choices=3)
    strategy = begin("exhaustive", space=space, evaluations=None, generation=generation)
    asked = all_of(strategy)
    assert [arch for part in asked for arch in part] == list(space.enumerate())
    assert all(len(part) == generation for part in asked[:-1])
    assert strategy.ask() == []


def test_each_inside_the_budget(begin: Begin, hill_type: Any) -> None:
    space = hill_type(genes=3, choices=3)
    strategy = begin("exhaustive", space=space, evaluations=None, budget=Budget(params=2))
    asked = [arch for part in all_of(strategy) for arch in part]
    assert asked == [arch for arch in space.enumerate() if sum(arch.places) <= 2]
    assert strategy.proposals.rejected == 27 - len(asked) == 17


def test_it_goes_on_where_it_was_saved(begin: Begin, hill_type: Any) -> None:
    space = hill_type(genes=3, choices=3)
    settings = {"space": space, "evaluations": None, "budget": Budget(params=2), "generation": 3}
    whole = [arch for part in all_of(begin("exhaustive", **settings)) for arch in part]
    strategy, asked = begin("exhaustive", **settings), []
    while part := strategy.ask():
        asked += part
        state = json.loads(json.dumps(strategy.state_dict()))
        strategy = begin("exhaustive", **settings)
        strategy.load_state_dict(state)
    assert asked == whole


def test_refusals_are_counted_once_over_a_resume(begin: Begin, hill_type: Any) -> None:
    space = hill_type(genes=3, choices=3)
    settings = {"space": space, "evaluations": None, "budget": Budget(params=2), "generation": 3}
    strategy = begin("exhaustive", **settings)
    for _ in range(4):
        assert strategy.ask()
    resumed = begin("exhaustive", **settings)
    resumed.load_state_dict(json.loads(json.dumps(strategy.state_dict())))
    assert strategy.ask() == resumed.ask() == []
    assert resumed.proposals.rejected == strategy.proposals.rejected == 17


def test_a_large_space_needs_evaluations(make_strategy: Any, make_proposals: Any) -> None:
    space = make(compose("search", ["space=s1"], None)["space"], "space", Space)
    strategy = make_strategy("exhaustive", evaluations=None)
    with pytest.raises(UserError, match=r"space s1 has 1.48e\+13 architectures; set"):
        strategy.start(make_proposals(space))
    limited = make_strategy("exhaustive", evaluations=25)
    limited.start(make_proposals(space))
    assert len(set(limited.ask())) == 10


def test_s0_is_64(make_strategy: Any, make_proposals: Any) -> None:
    space = make(compose("search", ["space=s0"], None)["space"], "space", Space)
    strategy = make_strategy("exhaustive")
    strategy.start(make_proposals(space))
    asked = [arch for part in all_of(strategy) for arch in part]
    assert len(asked) == len(set(asked)) == 64
