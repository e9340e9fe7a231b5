"""Rows of a ranking."""

from __future__ import annotations

from dataclasses import fields
from math import isnan, nan

import numpy as np
import pytest

from diswot.ranking.scores import Conditions, Scores, Target
from diswot.ranking.table import rank_rows
from diswot.runs import RankRow

CONTRACT = (
    "space,dataset,target,proxy,n,failed,spearman,spearman_lo,spearman_hi,spearman_std,kendall,"
    "pearson,partial_spearman_params,precision_at_10pct,regret,seconds_per_arch,seeds,data,"
    "num_classes,init,teacher"
)
ADDED = (
    "kendall_lo,kendall_hi,pearson_lo,pearson_hi,minus_params,minus_params_lo,minus_params_hi,"
    "better_than_params,baseline,control,minus_control,minus_control_lo,minus_control_hi,"
    "source,teacher_weights,batch_size,image_size"
)
CONDITIONS = Conditions("s0", "fashion_mini", 100, "gaussian", "resnet56")


@pytest.fixture
def rows() -> list[RankRow]:
    rng = np.random.default_rng(0)
    accuracy = rng.uniform(50, 70, 40)
    params = accuracy + rng.normal(0, 9, 40)
    values = {
        "broken": np.full((2, 40), nan),
        "worse": -accuracy + rng.normal(0, 1, (2, 40)),
        "params": np.tile(params, (2, 1)),
        "good": accuracy + rng.normal(0, 1, (2, 40)),
    }
    values["good"][1, 3] = nan
    scores = Scores(
        archs=tuple(map(str, range(40))),
        seeds=(0, 7),
        values=values,
        seconds={"good": 0.25},
        params=params,
        flops=params,
        baselines=frozenset({"params"}),
    )
    targets = [Target("cifar10", "vanilla", accuracy), Target("cifar10", "distilled", -accuracy)]
    return rank_rows(scores, targets, CONDITIONS, resamples=100, seed=0)


def test_columns_are_the_contract() -> None:
    names = [field.name for field in fields(RankRow)]
    assert ",".join(names) == f"{CONTRACT},{ADDED}"


def test_rows_are_sorted_within_targets(rows: list[RankRow]) -> None:
    assert [(row.target, row.proxy) for row in rows] == [
        *(("vanilla", name) for name in ("good", "params", "worse", "broken")),
        *(("distilled", name) for name in ("worse", "params", "good", "broken")),
    ]


def test_rows_hold_what_belongs_together(rows: list[RankRow]) -> None:
    good, params, worse, broken = rows[:4]
    assert (good.n, good.failed, broken.failed, good.seeds) == (40, 1, 80, 2)
    assert good.seconds_per_arch == 0.25
    assert isnan(params.seconds_per_arch)
    assert (good.better_than_params, worse.better_than_params) == (True, False)
    assert (good.baseline, params.baseline) == (False, True)
    assert params.minus_params == params.minus_params_lo == params.spearman_std == 0
    assert isnan(params.partial_spearman_params)
    assert isnan(broken.spearman)
    assert good.teacher == "resnet56"
    for row in (good, params, worse):
        for name in ("spearman", "kendall", "pearson", "minus_params"):
            low, value, high = (getattr(row, f"{name}{end}") for end in ("_lo", "", "_hi"))
            assert low <= value <= high, name
    assert good.spearman > good.kendall > 0.5
    assert good.precision_at_10pct >= 0.5
    assert 0 <= good.regret < 3 < worse.regret


def test_equal_runs_give_equal_rows() -> None:
    scores = Scores(
        archs=("a", "b", "c", "d"),
        seeds=(0,),
        values={"p": np.array([[1.0, 3, 2, 4]]), "q": np.array([[1.0, 3, 2, 4]])},
        seconds={},
        params=np.array([1.0, 2, 3, 3]),
        flops=np.ones(4),
        baselines=frozenset(),
    )
    target = Target("c", "t", np.array([1.0, 2, 3, 4]))
    first, second = rank_rows(scores, [target], CONDITIONS, resamples=30, seed=1)
    again = rank_rows(scores, [target], CONDITIONS, resamples=30, seed=1)
    assert (first.proxy, second.proxy) == ("p", "q")
    assert first.spearman_lo == second.spearman_lo
    assert repr(again) == repr([first, second])
    other = rank_rows(scores, [target], CONDITIONS, resamples=30, seed=2)
    assert other[0].spearman == first.spearman
