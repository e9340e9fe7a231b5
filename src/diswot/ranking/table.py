"""Rows of rank.csv: how well each proxy predicts each target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan, nan
from typing import Any

import numpy as np

from diswot.ranking.scores import Scores, Target
from diswot.ranking.statistics import compute
from diswot.runs import RankRow

__all__ = ["rank_rows"]


def rank_rows(
    scores: Scores,
    targets: Sequence[Target],
    conditions: Mapping[str, Any],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> list[RankRow]:
    """Rows target by target, in each the proxy with the best Spearman first, NaN last.

    Arguments and errors are those of `compute`; ``conditions`` are columns that all rows repeat,
    see `diswot.ranking.scores.conditions_of`.
    """
    table = compute(scores, targets, resamples=resamples, seed=seed)
    rows = []
    for index, target in enumerate(targets):
        own = []
        for proxy, by_target in table.items():
            statistics = by_target[index]
            estimates: dict[str, Any] = {}
            for name in ("spearman", "kendall", "pearson", "minus_params", "minus_control"):
                value, low, high = getattr(statistics, name)
                estimates |= {name: value, f"{name}_lo": low, f"{name}_hi": high}
            row = RankRow(
                **conditions,
                **estimates,
                dataset=target.dataset,
                target=target.target,
                proxy=proxy,
                n=statistics.n,
                failed=statistics.failed,
                spearman_std=statistics.spearman_std,
                partial_spearman_params=statistics.partial_params,
                precision_at_10pct=statistics.precision,
                regret=statistics.regret,
                seconds_per_arch=scores.seconds.get(proxy, nan),
                seeds=len(scores.seeds),
                better_than_params=statistics.minus_params.low > 0,
                baseline=proxy in scores.baselines,
                control=proxy in scores.controls.values(),
            )
            own.append(row)
        rows += sorted(own, key=lambda r: (isnan(r.spearman), np.nan_to_num(-r.spearman), r.proxy))
    return rows
