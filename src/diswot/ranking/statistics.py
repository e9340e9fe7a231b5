"""How well proxies predict known accuracies, with bootstrap intervals over the archs.

A statistic is the mean of its values for each seed, of a resample as of the sample itself; it is
NaN when it is not defined for one of the seeds, as for a proxy that gives every arch one score.
Intervals are 95 % percentile intervals over archs, the seeds being those given: they say nothing of
other seeds, and nothing is corrected for looking at many proxies. All proxies and targets share
the resamples, so that differences between them are paired.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from diswot.checks import whole
from diswot.errors import UserError
from diswot.ranking.correlations import partial, spearman
from diswot.ranking.orders import Order
from diswot.ranking.resamples import interval
from diswot.ranking.sampling import Sampler
from diswot.ranking.scores import Scores, Target
from diswot.ranking.selection import precision, regret

__all__ = ["Estimate", "Statistics", "compute"]


@dataclass(frozen=True)
class Estimate:
    """A statistic and its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Statistics:
    """How well one proxy predicts one target.

    An arch that could not be scored (no finite score) counts as ranked below all others, tied
    with the others that could not be scored; only Pearson, which needs a number, leaves it out.

    Args:
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
    accuracy = [np.asarray(target.accuracy, dtype=np.float64) for target in targets]
    sampler = Sampler(accuracy, whole("resamples", resamples, 1), whole("seed", seed, 0))
    params = Order.of(scores.params)
    reference = sampler.spearman({"params": [params]})["params"]
    goals = [_Goal(*parts) for parts in zip(accuracy, sampler.targets, reference, strict=True)]
    values = {name: _distinct(rows) for name, rows in scores.values.items()}
    orders = {name: [Order.of(row) for row in rows] for name, rows in values.items()}
    rhos = sampler.spearman(orders)
    table = {}
    for name, own in orders.items():
        all_samples = (rhos[name], sampler.kendall(own), sampler.pearson(values[name]))
        samples = zip(goals, zip(*all_samples, strict=True), strict=True)
        rows = scores.values[name]
        found = [_statistics(rows, own, params, *pair) for pair in samples]
        if (control := scores.controls.get(name)) is not None:
            pairs = zip(found, rhos[name], rhos[control], strict=True)
            found = [replace(each, minus_control=_estimate(a - b)) for each, a, b in pairs]
        table[name] = found
    return table


class _Goal(NamedTuple):
    """What is to be predicted, and the Spearman of params with it (1, resamples + 1)."""

    accuracy: NDArray[np.float64]
    order: Order
    of_params: NDArray[np.float64]


def _statistics(
    rows: NDArray[np.float64],
    orders: Sequence[Order],
    params: Order,
    goal: _Goal,
    samples: tuple[NDArray[np.float64], ...],
) -> Statistics:
    """Of one proxy's scores (seeds, archs) and their distinct orders."""
    rho, tau, linear = samples
    return Statistics(
        n=rows.shape[1],
        failed=int(np.count_nonzero(~np.isfinite(rows))),
        spearman=_estimate(rho),
        spearman_std=_spread(rho[:, 0], len(rows)),
        kendall=_estimate(tau),
        pearson=_estimate(linear),
        partial_params=_mean(orders, _given(params, goal.order)),
        precision=_mean(orders, lambda order: precision(order, goal.order)),
        regret=_mean(orders, lambda order: regret(order, goal.accuracy)),
        minus_params=_estimate(rho - goal.of_params),
        minus_control=Estimate(*[float("nan")] * 3),
    )


def _check(scores: Scores, targets: Sequence[Target]) -> None:
    if not scores.archs or not scores.seeds or not targets:
        raise UserError("nothing to rank; give architectures, seeds and known accuracies")
    for target in targets:
        name = f"{target.dataset} {target.target}"
        if np.shape(target.accuracy) != (len(scores.archs),):
            raise ValueError(f"{name}: {np.shape(target.accuracy)} for {len(scores.archs)} archs")
        missing = np.flatnonzero(~np.isfinite(target.accuracy))
        if len(missing):
            raise UserError(
                f"{name}: no accuracy is known for {len(missing):,} architectures, such as "
                f"{scores.archs[missing[0]]}; rank only those that have one"
            )


def _distinct(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """One row where the scores of all seeds are the same."""
    rows = np.asarray(rows, dtype=np.float64)
    return rows[:1] if np.array_equal(rows, np.broadcast_to(rows[0], rows.shape), True) else rows


def _estimate(samples: NDArray[np.float64]) -> Estimate:
    """The mean over seeds of (seeds, resamples + 1), and its interval."""
    mean = samples.mean(axis=0)
    if not np.isfinite(mean[0]):
        return Estimate(*[float("nan")] * 3)
    return Estimate(float(mean[0]), *interval(mean[1:]))


def _spread(values: NDArray[np.float64], seeds: int) -> float:
    if seeds < 2:
        return float("nan")
    return float(values.std(ddof=1)) if len(values) > 1 else float(values[0] * 0)


def _mean(orders: Sequence[Order], statistic: Callable[[Order], float]) -> float:
    """Over seeds; NaN where a seed gives all archs one score."""
    if any(order.constant for order in orders):
        return float("nan")
    return float(np.mean([statistic(order) for order in orders]))


def _given(params: Order, truth: Order) -> Callable[[Order], float]:
    """Spearman of an order and the truth, with the params held fixed."""
    once = np.ones((len(truth.order), 1))
    sizes, goal = params.ranks(once), truth.ranks(once)

    def correlate(order: Order) -> float:
        ranks = order.ranks(once)
        pairs = ((ranks, goal), (ranks, sizes), (goal, sizes))
        return partial(*(float(spearman(x, y, once)[0]) for x, y in pairs))

    return correlate
