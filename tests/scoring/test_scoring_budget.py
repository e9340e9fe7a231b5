"""Limits: what they refuse, and how far a candidate is over them."""

from __future__ import annotations

import re
from typing import Any

import pytest

from diswot.commands import compose
from diswot.config import conf_dir, make
from diswot.errors import UserError
from diswot.scoring.budget import Budget

MEMBERS = sorted(path.stem for path in (conf_dir() / "budget").glob("*.yaml"))
LIMITS = ("params", "flops", "layers")


class Costs:
    """Costs that are given; notes what was asked."""

    def __init__(self, **given: int) -> None:
        self.given = given
        self.asked: list[str] = []

    def measures(self) -> dict[str, Any]:
        def measure(name: str) -> Any:
            def answer(arch: object) -> int:
                self.asked.append(name)
                return self.given[name]

            return answer

        return {name: measure(name) for name in self.given}


@pytest.mark.parametrize("member", MEMBERS)
def test_members(member: str) -> None:
    node = compose("search", ["space=s1", f"budget={member}"], None)["budget"]
    assert isinstance(make(node, "budget", Budget), Budget)


def test_the_default_takes_the_limits_of_the_space() -> None:
    def limits(*overrides: str) -> dict[str, float]:
        return make(compose("search", overrides, None)["budget"], "budget", Budget).limits()

    assert limits("space=s1") == {"params": 1e6}
    assert limits("space=s0") == {}
    assert limits("space=s1", "budget=none") == {}
    assert limits("space=s1", "budget.params=5e5", "budget.flops=1e8") == {
        "params": 5e5,
        "flops": 1e8,
    }


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("value", [-1, 0, "abc", float("nan"), float("inf"), True, [3]])
def test_limits_that_no_candidate_keeps_are_refused(limit: str, value: Any) -> None:
    message = re.escape(f"budget.{limit}={value} is not allowed; give a positive number")
    with pytest.raises(UserError, match=message):
        Budget(**{limit: value})


@pytest.mark.parametrize("value", [-1, 0, "abc", float("nan"), None])
def test_tries_must_be_at_least_one(value: Any) -> None:
    with pytest.raises(UserError, match=re.escape(f"budget.max_tries={value} is not allowed")):
        Budget(max_tries=value)


@pytest.mark.parametrize("text", ["-1", "0", "abc", ".nan"])
def test_the_command_line_is_told_so_too(text: str) -> None:
    node = compose("search", [f"budget.params={text}"], None)["budget"]
    with pytest.raises(UserError, match=r"budget\.params=.* give a positive number"):
        make(node, "budget", Budget)


def test_an_unknown_limit_is_refused() -> None:
    node = compose("search", ["+budget.latency=3"], None)["budget"]
    with pytest.raises(UserError, match="latency"):
        make(node, "budget", Budget)


def test_excess_is_relative_to_the_limit() -> None:
    budget = Budget(params=100)
    assert budget.excess(None, Costs(params=100)) == 0  # type: ignore[arg-type]
    assert budget.excess(None, Costs(params=1)) == 0  # type: ignore[arg-type]
    assert budget.excess(None, Costs(params=200)) == 1  # type: ignore[arg-type]
    assert budget.excess(None, Costs(params=150)) == pytest.approx(0.5)  # type: ignore[arg-type]


def test_every_limit_counts() -> None:
    budget = Budget(params=10, flops=10, layers=10)
    for limit in LIMITS:
        over = Costs(**{"params": 1, "layers": 1, "flops": 1, limit: 20})
        assert budget.excess(None, over) > 0  # type: ignore[arg-type]


def test_costs_without_a_limit_are_not_counted() -> None:
    costs = Costs(params=5, layers=5, flops=5)
    Budget(layers=10).excess(None, costs)  # type: ignore[arg-type]
    assert costs.asked == ["layers"]
    Budget().excess(None, costs)  # type: ignore[arg-type]
    assert costs.asked == ["layers"]


def test_it_reads_well() -> None:
    assert str(Budget(params=1e6, layers=18)) == "params ≤ 1,000,000, layers ≤ 18"
    assert str(Budget()) == "no limit"
