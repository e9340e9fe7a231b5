"""Successive halving, whatever is measured."""

import math
from collections.abc import Sequence
from random import Random

import pytest

from diswot.errors import UserError
from diswot.racing.halving import Plan, Trial, decided, estimate, survivors
from diswot.runs import Estimate, RaceRecord
from diswot.runs.races import side


class Lab:
    """Gives accuracies by a table, and remembers what was asked for."""

    def __init__(self, accuracies: dict[str, float]) -> None:
        self.accuracies = accuracies
        self.asked: list[list[Trial]] = []

    def __call__(self, trials: Sequence[Trial]) -> list[RaceRecord]:
        self.asked.append(list(trials))
        return [self.record(trial, self.accuracies.get(trial.arch)) for trial in trials]

    @staticmethod
    def record(trial: Trial, top1: float | None) -> RaceRecord:
        sizes = {"params": 1, "flops": 1, "seconds": 0.0}
        reason = "why" if top1 is None else None
        return RaceRecord(**vars(trial), val_top1=top1, test_top1=top1, **sizes, reason=reason)


@pytest.mark.parametrize("number", range(40))
def test_the_best_wins_and_no_training_is_done_twice(number: int) -> None:
    draw = Random(number)
    archs = [f"a{i}" for i in range(draw.randint(1, 8))]
    control = draw.choice([None, "control", archs[-1]])
    lab = Lab({arch: draw.random() for arch in [*archs, "control"]})
    rungs, keep = [draw.randint(1, 9) for _ in range(draw.randint(1, 3))], draw.random()
    plan = Plan(archs, control, rungs, keep, range(5, 5 + draw.randint(1, 3)), taught=True)
    assert decided(plan, lab) == max(archs, key=lambda arch: lab.accuracies[arch])
    *taught, alone = lab.asked
    every = [trial for trials in lab.asked for trial in trials]
    assert len({*every}) == len(every)
    assert [len({t.arch for t in trials} & {*archs} - {control}) for trials in taught] == [
        len({*field} - {control}) for field in _fields(lab, archs, rungs, keep)
    ]
    assert [len(field) for field in _fields(lab, archs, rungs, keep)] == plan.fields()
    last = [trials[-1].seed for trials in taught[:-1]]
    assert last == [5] * (len(rungs) - 1)  # of one seed, but for the last rung
    assert {t.seed for t in taught[-1]} == {t.seed for t in alone} == {*plan.seeds}
    assert (control in {t.arch for t in taught[-1]}) == (control is not None)
    assert {t.arch for t in alone} == {decided(plan, lab), control} - {None}
    assert not any(t.taught for t in alone)


def _fields(lab: Lab, archs: list[str], rungs: list[int], keep: float) -> list[list[str]]:
    fields = [archs]
    for _ in rungs[1:]:
        fields.append(survivors({arch: lab.accuracies[arch] for arch in fields[-1]}, keep))
    return fields


def test_those_that_diverge_leave_at_once() -> None:
    plan = Plan(["a", "b", "c", "d"], "a", [1, 2], 0.75, [0, 1], taught=True)
    lab = Lab({"b": 1.0, "d": 2.0})
    assert decided(plan, lab) == "d"
    assert [{t.arch for t in trials} for trials in lab.asked] == [
        {"a", "b", "c", "d"},
        {"a", "b", "d"},  # the control runs on the last rung whatever it did
        {"a", "d"},
    ]
    with pytest.raises(UserError, match="all that were left diverged on rung 1; the first: why"):
        decided(plan, Lab({}))
    assert decided(Plan(["a"], "c", [1], 0.5, [0], taught=False), Lab({"c": 1.0})) == "c"


def test_equals_stay_in_the_order_of_the_search() -> None:
    assert survivors({"a": 1.0, "b": 2.0, "c": 2.0, "d": 0.0}, 0.5) == ["b", "c"]
    assert survivors({"a": 1.0, "b": 1.0, "c": 1.0}, 0.1) == ["a"]


def test_an_interval_is_students() -> None:
    found = estimate([1.0, 2.0, 3.0])
    assert found is not None
    assert found.half is not None
    assert (found.mean, found.seeds) == (2.0, 3)
    assert found.half == pytest.approx(4.3026527299 / math.sqrt(3), abs=1e-4)  # t, 2 degrees
    single = estimate([7.0])
    assert single is not None
    assert (single.mean, single.half) == (7.0, None)
    assert estimate([]) is None
    assert [side(Estimate(2.0, half, 3)) for half in (1.0, 3.0, 0.0, None)] == [1, 0, 0, 0]
