"""The rows of rank.csv: how well each proxy predicts each target."""

from __future__ import annotations

import math
from collections.abc import Sequence

from diswot.ranking.scores import Conditions, Scores, Target
from diswot.ranking.statistics import Statistics, compute
from diswot.runs import RankRow

__all__ = ["rank_rows"]


def rank_rows(
    scores: Scores,
    targets: Sequence[Target],
    conditions: Conditions,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> list[RankRow]:
    """Rows target by target, in each the proxy with the best Spearman first, NaN last.

    Args:
        scores: Of N archs.
        targets: Their accuracies.
        conditions: What all rows repeat.
        resamples: Bootstrap resamples.
        seed: Of their generator.

    Raises:
        UserError: A setting is not allowed, or an accuracy is missing.
    """
    table = compute(scores, targets, resamples=resamples, seed=seed)
    rows = []
    for index, target in enumerate(targets):
        own = [_row(scores, target, conditions, name, table[name][index]) for name in table]
        rows += sorted(own, key=_best_first)
    return rows


def _best_first(row: RankRow) -> tuple[bool, float, str]:
    undefined = math.isnan(row.spearman)
    return undefined, 0.0 if undefined else -row.spearman, row.proxy


def _row(
    scores: Scores, target: Target, conditions: Conditions, proxy: str, found: Statistics
) -> RankRow:
    return RankRow(
        space=conditions.space,
        dataset=target.dataset,
        target=target.target,
        proxy=proxy,
        n=found.n,
        failed=found.failed,
        spearman=found.spearman.value,
        spearman_lo=found.spearman.low,
        spearman_hi=found.spearman.high,
        spearman_std=found.spearman_std,
        kendall=found.kendall.value,
        pearson=found.pearson.value,
        partial_spearman_params=found.partial_params,
        precision_at_10pct=found.precision,
        regret=found.regret,
        seconds_per_arch=scores.seconds.get(proxy, math.nan),
        seeds=len(scores.seeds),
        data=conditions.data,
        num_classes=conditions.num_classes,
        init=conditions.init,
        teacher=conditions.teacher,
        kendall_lo=found.kendall.low,
        kendall_hi=found.kendall.high,
        pearson_lo=found.pearson.low,
        pearson_hi=found.pearson.high,
        minus_params=found.minus_params.value,
        minus_params_lo=found.minus_params.low,
        minus_params_hi=found.minus_params.high,
        better_than_params=found.better_than_params,
        baseline=proxy in scores.baselines,
        control=proxy in scores.controls.values(),
        minus_control=found.minus_control.value,
        minus_control_lo=found.minus_control.low,
        minus_control_hi=found.minus_control.high,
        source=conditions.source,
        teacher_weights=conditions.teacher_weights,
        batch_size=conditions.batch_size,
        image_size=conditions.image_size,
    )
