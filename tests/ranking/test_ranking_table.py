"""Rows of a ranking."""

from __future__ import annotations

from dataclasses import fields
from math import isnan, nan

import numpy as np
import pytest
from ranking_helpers import CONTRACT

from diswot.ranking.scores import Scores, Target
from diswot.ranking.table import rank_rows
from diswot.runs import RankRow

ADDED = (
    "kendall_lo,kendall_hi,pearson_lo,pearson_hi,minus_params,minus_params_lo,minus_params_hi,"
    "better_than_params,baseline,control,minus_control,minus_control_lo,minus_control_hi,"
    "source,teacher_weights,batch_size,image_size"
)
CONDITIONS = {
    **{"space": "s0", "data": "fashion_mini", "num_classes": 100, "init": "gaussian"},
    **{"teacher": "resnet56", "teacher_weights": "none", "batch_size": 64, "image_size": 28},
    "source": "embedded",
}


def ranked(seed: int = 0) -> list[RankRow]:
    rng = np.random.default_rng(0)
    accuracy = rng.uniform(50, 70, 40)
    params = accuracy + rng.normal(0, 9, 40)
    good = accuracy + rng.normal(0, 1, (2, 40))
    good[1, 3] = nan
    values = {"broken": np.full((2, 40), nan), "worse": -accuracy + rng.normal(0, 1, (2, 40))}
    values |= {"twin": good, "params": np.tile(params, (2, 1)), "good": good}
    archs, names = tuple(map(str, range(40))), frozenset({"params"})
    scores = Scores(archs, (0, 7), values, {"good": 0.25}, params, params, names)
    targets = [Target("cifar10", "vanilla", accuracy), Target("cifar10", "distilled", -accuracy)]
    return rank_rows(scores, targets, CONDITIONS, resamples=100, seed=seed)


@pytest.fixture(scope="module")
def rows() -> list[RankRow]:
    return ranked()


def test_columns_are_the_contract() -> None:
    assert ",".join(field.name for field in fields(RankRow)) == f"{CONTRACT},{ADDED}"


def test_rows_are_sorted_within_targets(rows: list[RankRow]) -> None:
    assert [(row.target, row.proxy) for row in rows] == [
        *(("vanilla", name) for name in ("good", "twin", "params", "worse", "broken")),
        *(("distilled", name) for name in ("worse", "params", "good", "twin", "broken")),
    ]


def test_rows_hold_what_belongs_together(rows: list[RankRow]) -> None:
    good, twin, params, worse, broken = rows[:5]
    assert (good.n, good.failed, broken.failed, good.seeds) == (40, 1, 80, 2)
    assert {key: getattr(good, key) for key in CONDITIONS} == CONDITIONS
    assert good.seconds_per_arch == 0.25
    assert isnan(params.seconds_per_arch)
    assert (good.better_than_params, worse.better_than_params) == (True, False)
    assert (good.baseline, params.baseline) == (False, True)
    assert params.minus_params == params.minus_params_lo == params.spearman_std == 0
    assert isnan(params.partial_spearman_params)
    assert isnan(broken.spearman)
    assert (good.spearman, good.spearman_lo) == (twin.spearman, twin.spearman_lo)
    for row in (good, params, worse):
        for name in ("spearman", "kendall", "pearson", "minus_params"):
            low, value, high = (getattr(row, f"{name}{end}") for end in ("_lo", "", "_hi"))
            assert low <= value <= high, name
    assert good.spearman > good.kendall > 0.5
    assert good.precision_at_10pct >= 0.5
    assert 0 <= good.regret < 3 < worse.regret


def test_the_seed_settles_the_intervals_alone(rows: list[RankRow]) -> None:
    assert repr(ranked()) == repr(rows)
    other = ranked(seed=2)
    assert other[0].spearman == rows[0].spearman
    assert other[0].spearman_lo != rows[0].spearman_lo
