"""Statistics of how well proxies predict known accuracies, with bootstrap intervals over the archs.

A statistic is the mean of its values for each seed, of a resample as of the sample itself; it is
NaN when it is not defined for one of the seeds, as for a proxy that gives every arch one score.
Intervals are 95 % percentile intervals over archs, the seeds being those given: they say nothing of
other seeds, and nothing is corrected for looking at many proxies. All proxies and targets share
the resamples, so that differences between them are paired.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from math import isnan, nan
from operator import itemgetter
from typing import Any

import numpy as np

from diswot.checks import whole
from diswot.errors import UserError
from diswot.ranking import correlations as corr
from diswot.ranking.correlations import Floats, Kendall, Ordering
from diswot.ranking.scores import Scores, Target
from diswot.runs import RankRow

_NUMBERS = 2**20  # float64 of a chunk; a few such arrays fit into the caches


def rank_rows(
    scores: Scores,
    targets: Sequence[Target],
    conditions: Mapping[str, Any],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> list[RankRow]:
    """Rows target by target, in each the proxy with the best Spearman first, NaN last.

    An arch that could not be scored (no finite score) counts as ranked below all others, tied
    with the others that could not be scored; only Pearson, which needs a number, leaves it out.
    ``conditions`` are columns that all rows repeat, see `diswot.ranking.scores.conditions_of`;
    ``resamples`` and ``seed`` are as in `Bootstrap`.

    Raises:
        UserError: A setting is not allowed, or an accuracy is missing.
    """
    _check(scores, targets)
    accuracies = [np.asarray(target.accuracy, dtype=np.float64) for target in targets]
    bootstrap = Bootstrap(accuracies, whole("resamples", resamples, 1), whole("seed", seed, 0))
    params = Ordering.of(scores.params)
    values = {name: _distinct(rows) for name, rows in scores.values.items()}
    orderings = {name: [Ordering.of(row) for row in rows] for name, rows in values.items()}
    rhos = bootstrap.spearman(orderings)
    of_params = bootstrap.spearman({"params": [params]})["params"]
    rows = []
    for proxy, own in orderings.items():
        count = len(scores.values[proxy])
        control = rhos.get(scores.controls.get(proxy, ""))
        for place, (target, accuracy) in enumerate(zip(targets, accuracies, strict=True)):
            rho, goal = rhos[proxy][place], bootstrap.goals[place]
            taus = bootstrap.each(Kendall(ordering, goal) for ordering in own)
            linear = bootstrap.each(partial(corr.pearson, row, accuracy) for row in values[proxy])
            minus_params = _estimate("minus_params", rho - of_params[place])
            minus_control = rho - (nan if control is None else control[place])
            row = RankRow(
                **conditions,
                dataset=target.dataset,
                target=target.target,
                proxy=proxy,
                n=len(accuracy),
                failed=int(np.count_nonzero(~np.isfinite(scores.values[proxy]))),
                **_estimate("spearman", rho),
                spearman_std=_spread(rho[:, 0], count),
                **_estimate("kendall", taus),
                kendall_std=_spread(taus[:, 0], count),
                **_estimate("pearson", linear),
                partial_spearman_params=_mean(own, partial(corr.partial, y=goal, z=params)),
                precision_at_10pct=_mean(own, partial(corr.precision, accuracy=goal)),
                regret=_mean(own, partial(corr.regret, accuracy=accuracy)),
                ndcg_at_10pct=_mean(own, partial(corr.ndcg, accuracy=accuracy)),
                **minus_params,
                **_estimate("minus_control", minus_control),
                seconds_per_arch=scores.seconds.get(proxy, nan),
                seeds=len(scores.seeds),
                better_than_params=minus_params["minus_params_lo"] > 0,
                baseline=proxy in scores.baselines,
                control=proxy in scores.controls.values(),
            )
            rows.append((place, isnan(row.spearman), np.nan_to_num(-row.spearman), proxy, row))
    return [row for *_, row in sorted(rows, key=itemgetter(0, 1, 2, 3))]


def _check(scores: Scores, targets: Sequence[Target]) -> None:
    if not scores.archs or not scores.seeds or not targets:
        raise UserError("nothing to rank; give architectures, seeds and known accuracies")
    for target in targets:
        missing = np.flatnonzero(~np.isfinite(target.accuracy))
        if len(missing):
            raise UserError(
                f"{target.dataset} {target.target}: no accuracy is known for {len(missing):,} "
                f"architectures, such as {scores.archs[missing[0]]}; rank only those that have one"
            )


def _distinct(rows: Floats) -> Floats:
    """One row where the scores of all seeds are the same."""
    rows = np.asarray(rows, dtype=np.float64)
    return rows[:1] if np.array_equal(rows, np.broadcast_to(rows[0], rows.shape), True) else rows


def _estimate(name: str, samples: Floats) -> dict[str, Any]:
    """The columns of a statistic: the mean over seeds of (seeds, resamples + 1), its interval."""
    mean = samples.mean(axis=0)
    low, high = interval(mean[1:]) if np.isfinite(mean[0]) else (nan, nan)
    return {name: float(mean[0]), f"{name}_lo": low, f"{name}_hi": high}


def interval(values: Floats) -> tuple[float, float]:
    """The 95 % percentile interval of a statistic's values on the resamples.

    Resamples on which it is not defined (such as those that drew one arch only) are left out;
    NaN when none is left.
    """
    defined = values[np.isfinite(values)]
    low, high = np.quantile(defined, (0.025, 0.975)) if len(defined) else (nan, nan)
    return float(low), float(high)


def _spread(values: Floats, seeds: int) -> float:
    if seeds < 2:
        return nan
    return float(values.std(ddof=1)) if len(values) > 1 else float(abs(values[0]) * 0)


def _mean(orderings: Sequence[Ordering], statistic: Callable[[Ordering], float]) -> float:
    """Over seeds; NaN where a seed gives all archs one score."""
    if any(len(ordering.starts) < 2 for ordering in orderings):
        return nan
    return float(np.mean([statistic(ordering) for ordering in orderings]))


class Bootstrap:
    """Correlations with N archs' accuracies on their sample and on bootstrap resamples of it.

    Index 0 is the sample (every arch once), 1 to ``resamples`` the resamples: N archs drawn with
    replacement from the generator PCG64(seed), one resample after the other. A resample is never
    copied out; statistics take how often each arch was drawn as its weight. ``accuracies`` are
    (N,) for each target.
    """

    def __init__(self, accuracies: Sequence[Floats], resamples: int, seed: int) -> None:
        self.goals = [Ordering.of(accuracy) for accuracy in accuracies]
        archs = len(accuracies[0])
        generator = np.random.Generator(np.random.PCG64(seed))
        self._counts = np.ones((resamples + 1, archs), dtype=np.min_scalar_type(archs))
        for row in self._counts[1:]:
            row[:] = np.bincount(generator.integers(archs, size=archs), minlength=archs)

    def chunks(self) -> Iterator[Floats]:
        """(N, some indices), in order: how often each arch was drawn."""
        size = max(8, _NUMBERS // max(1, self._counts.shape[1]))
        for start in range(0, len(self._counts), size):
            rows = self._counts[start : start + size]
            yield np.ascontiguousarray(rows.T, dtype=np.float64)

    def spearman(self, orderings: Mapping[str, Sequence[Ordering]]) -> dict[str, Floats]:
        """(targets, seeds, resamples + 1) of each proxy, whose orderings are one a seed."""
        parts: dict[str, list[Floats]] = {name: [] for name in orderings}
        for counts in self.chunks():
            goals = [goal.ranks(counts) for goal in self.goals]  # once for all proxies
            for name, own in orderings.items():
                sides = (ordering.ranks(counts) for ordering in own)
                part = [[corr.spearman(side, goal) for goal in goals] for side in sides]
                parts[name].append(np.array(part).swapaxes(0, 1))
        return {name: np.concatenate(part, axis=2) for name, part in parts.items()}

    def each(self, correlations: Iterable[Callable[[Floats], Floats]]) -> Floats:
        """(seeds, resamples + 1) of correlations with one target, one a seed."""
        return np.stack(
            [np.concatenate([correlate(c) for c in self.chunks()]) for correlate in correlations]
        )
