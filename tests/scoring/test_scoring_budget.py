"""Limits: what they refuse, and how far a candidate is over them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from scoring_helpers import made, members

from diswot.errors import UserError
from diswot.scoring.budget import Budget

LIMITS = ("params", "flops", "layers")


class Costs:
    """Costs that are given; notes what was asked."""

    def __init__(self, **given: int) -> None:
        self.given = given
        self.asked: list[str] = []

    def measures(self) -> dict[str, Any]:
        def measure(name: str) -> Any:
            return lambda arch: (self.asked.append(name), self.given[name])[1]

        return {name: measure(name) for name in self.given}


def test_the_default_takes_the_limits_of_the_space() -> None:
    assert members("budget") == ["default", "none"]
    assert made("budget", Budget, "space=s1").limits() == {"params": 1e6}
    assert made("budget", Budget, "space=s0").limits() == {}
    assert made("budget", Budget, "space=s1", "budget=none").limits() == {}
    both = made("budget", Budget, "space=s1", "budget.params=5e5", "budget.flops=1e8")
    assert both.limits() == {"params": 5e5, "flops": 1e8}


@pytest.mark.parametrize("value", [-1, 0, "abc", float("nan"), float("inf"), True, [3]])
def test_limits_that_no_candidate_keeps_are_refused(value: Any) -> None:
    for setting, allowed in {**dict.fromkeys(LIMITS, "positive"), "max_tries": "whole"}.items():
        message = f"budget.{setting}={value} is not allowed; give a {allowed} number"
        with pytest.raises(UserError, match=re.escape(message)):
            Budget(**{setting: value})


def test_the_command_line_is_told_so_too() -> None:
    for override, message in {"budget.params=.nan": "positive", "+budget.latency=3": "lat"}.items():
        with pytest.raises(UserError, match=message):
            made("budget", Budget, override)


def excess(budget: Budget, costs: Costs) -> float:
    return budget.excess(None, costs)  # type: ignore[arg-type]


def test_excess_is_relative_to_the_limit() -> None:
    excesses = [excess(Budget(params=100), Costs(params=n)) for n in (1, 100, 150, 200)]
    assert excesses == pytest.approx([0, 0, 0.5, 1])
    everything = Budget(params=10, flops=10, layers=10)
    for limit in LIMITS:
        assert excess(everything, Costs(**{"params": 1, "layers": 1, "flops": 1, limit: 20})) == 1


def test_costs_without_a_limit_are_not_counted() -> None:
    costs = Costs(params=5, layers=5, flops=5)
    excess(Budget(layers=10), costs)
    excess(Budget(), costs)
    assert costs.asked == ["layers"]


def test_it_reads_well() -> None:
    assert str(Budget(params=1e6, layers=18)) == "params ≤ 1,000,000, layers ≤ 18"
    assert str(Budget()) == "no limit"
