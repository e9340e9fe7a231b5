"""Statistics of how well proxies predict known accuracies, with bootstrap intervals over the archs.

A statistic is the mean of its values for each seed, of a resample as of the sample itself; it is
NaN when it is not defined for one of the seeds, as for a proxy that gives every arch one score.
Intervals are 95 % percentile intervals over archs, the seeds being those given: they say nothing of
other seeds, and nothing is corrected for looking at many proxies. All proxies and targets share
the resamples, so that differences between them are paired.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from diswot.checks import whole
from diswot.errors import UserError
from diswot.ranking.correlations import (
    Floats,
    Kendall,
    Ordering,
    partial,
    pearson,
    precision,
    regret,
    spearman,
)
from diswot.ranking.scores import Scores, Target

__all__ = ["Bootstrap", "Estimate", "Statistics", "compute", "interval"]

T = TypeVar("T")

_NUMBERS = 2**20  # float64 of a chunk; a few such arrays fit into the caches


@dataclass(frozen=True)
class Estimate:
    """A statistic and its interval."""

    value: float
    low: float
    high: float


_UNDEFINED = Estimate(*[float("nan")] * 3)


@dataclass(frozen=True)
class Statistics:
    """How well one proxy predicts one target.

    An arch that could not be scored (no finite score) counts as ranked below all others, tied
    with the others that could not be scored; only Pearson, which needs a number, leaves it out.

    Attributes:
        n: Number of archs.
        failed: Scores that are missing, over seeds and archs.
        spearman: Rank correlation.
        spearman_std: Its standard deviation over seeds (ddof 1), NaN for a single seed.
        kendall: Kendall's tau-b.
        pearson: Pearson's correlation of score and accuracy.
        partial_params: Spearman with the params held fixed.
        precision: Share of the best tenth by score that is in the best tenth by accuracy.
        regret: Best accuracy less that of the arch with the best score, percent points.
        minus_params: Spearman less that of the params, on the same resamples.
        minus_control: Spearman less that of the proxy's control, likewise; NaN without one.
    """

    n: int
    failed: int
    spearman: Estimate
    spearman_std: float
    kendall: Estimate
    pearson: Estimate
    partial_params: float
    precision: float
    regret: float
    minus_params: Estimate
    minus_control: Estimate

    @property
    def better_than_params(self) -> bool:
        """Whether the interval of the difference to the params is above 0."""
        return self.minus_params.low > 0


def compute(
    scores: Scores, targets: Sequence[Target], *, resamples: int = 1000, seed: int = 0
) -> dict[str, list[Statistics]]:
    """All statistics: proxy → one for each target.

    Args:
        scores: Of N archs.
        targets: Their accuracies.
        resamples: Bootstrap resamples, for every statistic.
        seed: Of their generator.

    Raises:
        UserError: A setting is not allowed, or an accuracy is missing.
    """
    _check(scores, targets)
    accuracies = [np.asarray(target.accuracy, dtype=np.float64) for target in targets]
    bootstrap = Bootstrap(accuracies, whole("resamples", resamples, 1), whole("seed", seed, 0))
    params = Ordering.of(scores.params)
    of_params = bootstrap.spearman({"params": [params]})["params"]
    values = {name: _distinct(rows) for name, rows in scores.values.items()}
    orderings = {name: [Ordering.of(row) for row in rows] for name, rows in values.items()}
    rhos = bootstrap.spearman(orderings)
    table: dict[str, list[Statistics]] = {}
    for name, own in orderings.items():
        rows, control = scores.values[name], scores.controls.get(name)
        taus = bootstrap.each(own, lambda side, index: Kendall(side, bootstrap.goals[index]))
        linear = bootstrap.each(
            list(values[name]),
            lambda row, index: functools.partial(pearson, row, accuracies[index]),
        )
        table[name] = [
            Statistics(
                n=rows.shape[1],
                failed=int(np.count_nonzero(~np.isfinite(rows))),
                spearman=_estimate(rho),
                spearman_std=_spread(rho[:, 0], len(rows)),
                kendall=_estimate(taus[index]),
                pearson=_estimate(linear[index]),
                partial_params=_mean(own, functools.partial(_partial, goal=goal, params=params)),
                precision=_mean(own, functools.partial(precision, accuracy=goal)),
                regret=_mean(own, functools.partial(regret, accuracy=accuracies[index])),
                minus_params=_estimate(rho - of_params[index]),
                minus_control=_UNDEFINED
                if control is None
                else _estimate(rho - rhos[control][index]),
            )
            for index, (goal, rho) in enumerate(zip(bootstrap.goals, rhos[name], strict=True))
        ]
    return table


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


def _estimate(samples: Floats) -> Estimate:
    """The mean over seeds of (seeds, resamples + 1), and its interval."""
    mean = samples.mean(axis=0)
    return Estimate(float(mean[0]), *interval(mean[1:])) if np.isfinite(mean[0]) else _UNDEFINED


def interval(values: Floats) -> tuple[float, float]:
    """The 95 % percentile interval of a statistic's values on the resamples.

    Resamples on which it is not defined (such as those that drew one arch only) are left out;
    NaN when none is left.
    """
    defined = values[np.isfinite(values)]
    if not len(defined):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, (0.025, 0.975))
    return float(low), float(high)


def _spread(values: Floats, seeds: int) -> float:
    if seeds < 2:
        return float("nan")
    return float(values.std(ddof=1)) if len(values) > 1 else float(values[0] * 0)


def _mean(orderings: Sequence[Ordering], statistic: Callable[[Ordering], float]) -> float:
    """Over seeds; NaN where a seed gives all archs one score."""
    if any(ordering.constant for ordering in orderings):
        return float("nan")
    return float(np.mean([statistic(ordering) for ordering in orderings]))


def _partial(score: Ordering, goal: Ordering, params: Ordering) -> float:
    """Spearman of score and goal with the params held fixed."""
    once = np.ones((len(goal.order), 1))
    x, y, z = (side.ranks(once) for side in (score, goal, params))
    return partial(*(float(spearman(a, b, once)[0]) for a, b in ((x, y), (x, z), (y, z))))


class Bootstrap:
    """Correlations with N archs' accuracies on their sample and on bootstrap resamples of it.

    Index 0 is the sample (every arch once), 1 to ``resamples`` the resamples: N archs drawn with
    replacement from the generator PCG64(seed), one resample after the other. A resample is never
    copied out; statistics take how often each arch was drawn as its weight. Correlations are an
    array (seeds, resamples + 1) for each target.

    Args:
        accuracies: (N,) for each target.
        resamples: Number of resamples, at least 1.
        seed: Of the generator.
    """

    def __init__(self, accuracies: Sequence[Floats], resamples: int, seed: int) -> None:
        self.goals = [Ordering.of(accuracy) for accuracy in accuracies]
        archs = len(accuracies[0])
        generator = np.random.Generator(np.random.PCG64(seed))
        self._counts = np.ones((resamples + 1, archs), dtype=np.min_scalar_type(archs))
        for row in self._counts[1:]:
            row[:] = np.bincount(generator.integers(archs, size=archs), minlength=archs)

    def chunks(self) -> Iterator[tuple[slice, Floats]]:
        """Some indices at a time, and (N, indices): how often each arch was drawn."""
        size = max(8, _NUMBERS // max(1, self._counts.shape[1]))
        for start in range(0, len(self._counts), size):
            where = slice(start, min(start + size, len(self._counts)))
            yield where, np.ascontiguousarray(self._counts[where].T, dtype=np.float64)

    def spearman(self, orderings: Mapping[str, Sequence[Ordering]]) -> dict[str, list[Floats]]:
        """Of each proxy's orderings, one a seed; all proxies at once, to rank a target once."""
        samples = {name: self._empty(len(own)) for name, own in orderings.items()}
        for where, counts in self.chunks():
            goals = [goal.ranks(counts) for goal in self.goals]
            for name, own in orderings.items():
                for seed, ordering in enumerate(own):
                    ranks = ordering.ranks(counts)
                    weighted = counts * ranks.doubled
                    for sample, goal in zip(samples[name], goals, strict=True):
                        sample[seed, where] = spearman(ranks, goal, counts, weighted)
        return samples

    def each(
        self, sides: Sequence[T], correlate: Callable[[T, int], Callable[[Floats], Floats]]
    ) -> list[Floats]:
        """Of one proxy's orderings or scores, one a seed, with the target of an index."""
        samples = self._empty(len(sides))
        for seed, side in enumerate(sides):
            for index, sample in enumerate(samples):
                correlation = correlate(side, index)
                for where, counts in self.chunks():
                    sample[seed, where] = correlation(counts)
        return samples

    def _empty(self, seeds: int) -> list[Floats]:
        return [np.empty((seeds, len(self._counts))) for _ in self.goals]
