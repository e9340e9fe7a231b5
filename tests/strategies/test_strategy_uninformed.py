"""Enumeration of a space: every architecture once."""

from __future__ import annotations

import json
from itertools import chain
from typing import Any

import pytest
from strategy_helpers import SMALL, begin, real_space

from diswot.errors import UserError
from diswot.scoring.budget import Budget
from diswot.strategies import Strategy


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


def test_s0_is_64() -> None:
    asked = all_of(exhaustive(space=real_space("s0")))
    assert len(asked) == len(set(asked)) == 64
