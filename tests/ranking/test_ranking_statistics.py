"""Statistics of a ranking against scipy and by their properties."""

from __future__ import annotations

import warnings
from dataclasses import astuple, replace
from math import isnan, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from diswot.errors import UserError
from diswot.ranking.correlations import Kendall, partial, pearson, spearman
from diswot.ranking.orders import Order
from diswot.ranking.resamples import Resamples, interval
from diswot.ranking.scores import Scores, Target
from diswot.ranking.selection import precision, regret
from diswot.ranking.statistics import Estimate, Statistics, compute

Array = NDArray[np.float64]
CLOSE = {"rtol": 0, "atol": 1e-12}


def make(values: Array, params: Array | None = None) -> Scores:
    """Scores (seeds, archs) of one proxy ``p``."""
    seeds, archs = values.shape
    sizes = np.arange(archs, dtype=float) if params is None else params
    return Scores(
        archs=tuple(f"a{index}" for index in range(archs)),
        seeds=tuple(range(seeds)),
        values={"p": values, "params": np.tile(sizes, (seeds, 1))},
        seconds={"p": 0.1},
        params=sizes,
        flops=sizes,
        baselines=frozenset({"params"}),
    )


def one(values: Array, accuracy: Array, **others: int) -> Statistics:
    others = {"resamples": 50, **others}
    return compute(make(values), [Target("c", "distilled", accuracy)], **others)["p"][0]


def values(found: Statistics, name: str) -> Array:
    value = getattr(found, name)
    return np.array(astuple(value) if isinstance(value, Estimate) else value)


def example(seed: int, size: int, levels: int) -> tuple[Array, Array, Array]:
    """Two vectors with ties and counts with archs that were not drawn."""
    rng = np.random.default_rng(seed)
    x = rng.integers(levels, size=size) * 1.5 - 3
    y = x + rng.integers(levels, size=size)
    return x, y, np.stack([np.bincount(rng.integers(size, size=size), minlength=size)] * 2, 1) * 1.0


def drawn(values: Array, counts: Array) -> Array:
    return np.repeat(values, counts[:, 0].astype(int))


@pytest.mark.parametrize("levels", [3, 6, 100_000])
@pytest.mark.parametrize("size", [5, 64, 700])
def test_weighted_correlations_are_scipys_on_repeated_archs(size: int, levels: int) -> None:
    x, y, counts = example(size + levels, size, levels)
    left, right = drawn(x, counts), drawn(y, counts)
    rho = spearman(Order.of(x).ranks(counts), Order.of(y).ranks(counts), counts)
    np.testing.assert_allclose(rho, stats.spearmanr(left, right).statistic, **CLOSE)
    np.testing.assert_allclose(
        pearson(x, y, counts), stats.pearsonr(left, right).statistic, **CLOSE
    )
    tau = stats.kendalltau(left, right).statistic
    np.testing.assert_allclose(Kendall(Order.of(x), Order.of(y))(counts), tau, **CLOSE)


@pytest.mark.parametrize("limit", [1, 3, 10, 1000])
@pytest.mark.parametrize("levels", [3, 20, 10**9])
def test_kendall_does_not_depend_on_bins(limit: int, levels: int) -> None:
    x, y, counts = example(levels, 200, levels)
    x[:90] = nan  # a group far larger than a bin
    filled = drawn(np.where(np.isnan(x), -100, x), counts)
    expected = stats.kendalltau(filled, drawn(y, counts)).statistic
    for first, second in ((x, y), (y, x)):
        tau = Kendall(Order.of(first), Order.of(second), limit)
        np.testing.assert_allclose(tau(counts), expected, **CLOSE)


def test_pearson_of_scores_of_many_magnitudes() -> None:
    rng = np.random.default_rng(0)
    x, y = 10.0 ** rng.uniform(-5, 200, 50), rng.normal(size=50)
    counts = np.ones((50, 2))
    counts[np.argmax(x), 1] = 0  # far smaller scores are left, which must not be rounded away
    kept = x < x.max()
    small = 10.0 ** rng.uniform(0, 3, 50)
    small[0] = 1e18
    without = np.array([0.0, *[1.0] * 49])[:, None]
    expected = stats.pearsonr(small[1:], y[1:]).statistic
    np.testing.assert_allclose(pearson(small, y, without), expected, **CLOSE)
    scale = x.max()
    expected = stats.pearsonr(x[kept] / scale, y[kept]).statistic
    np.testing.assert_allclose(pearson(x, y, counts)[1], expected, **CLOSE)


def test_point_estimates_are_means_over_seeds() -> None:
    rng = np.random.default_rng(1)
    values, accuracy = rng.normal(size=(3, 40)), rng.uniform(60, 70, 40)
    values[:, 5] = values[:, 6]
    found = one(values, accuracy)
    rhos = [stats.spearmanr(row, accuracy).statistic for row in values]
    assert found.spearman.value == pytest.approx(np.mean(rhos), abs=1e-12)
    assert found.spearman_std == pytest.approx(np.std(rhos, ddof=1), abs=1e-12)
    taus = [stats.kendalltau(row, accuracy).statistic for row in values]
    assert found.kendall.value == pytest.approx(np.mean(taus), abs=1e-12)
    linear = [stats.pearsonr(row, accuracy).statistic for row in values]
    assert found.pearson.value == pytest.approx(np.mean(linear), abs=1e-12)
    own = stats.spearmanr(np.arange(40), accuracy).statistic
    assert found.minus_params.value == pytest.approx(np.mean(rhos) - own, abs=1e-12)


def test_partial_is_the_correlation_of_residual_ranks() -> None:
    rng = np.random.default_rng(2)
    values, accuracy = rng.normal(size=(1, 60)), rng.normal(size=60)
    ranks = [stats.rankdata(v) for v in (values[0], accuracy, np.arange(60))]
    residuals = [y - np.polyval(np.polyfit(ranks[2], y, 1), ranks[2]) for y in ranks[:2]]
    expected = stats.pearsonr(*residuals).statistic
    assert one(values, accuracy).partial_params == pytest.approx(expected, abs=1e-10)
    assert isnan(partial(0.5, 1.0, 0.5))


def test_intervals_are_percentiles_over_the_resamples() -> None:
    rng = np.random.default_rng(3)
    values, accuracy = rng.normal(size=(2, 30)), rng.normal(size=30)
    generator = np.random.Generator(np.random.PCG64(7))
    differences, rhos = [], []
    for _ in range(80):
        picks = generator.integers(30, size=30)
        rho = np.mean([stats.spearmanr(row[picks], accuracy[picks]).statistic for row in values])
        rhos.append(rho)
        differences.append(rho - stats.spearmanr(picks, accuracy[picks]).statistic)
    found = one(values, accuracy, resamples=80, seed=7)
    limits = (found.spearman.low, found.spearman.high)
    np.testing.assert_allclose(limits, np.quantile(rhos, (0.025, 0.975)), **CLOSE)
    limits = (found.minus_params.low, found.minus_params.high)
    np.testing.assert_allclose(limits, np.quantile(differences, (0.025, 0.975)), **CLOSE)


def test_resamples_do_not_depend_on_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate([counts for _, counts in Resamples(20, 30, 1).chunks()], axis=1)
    monkeypatch.setattr("diswot.ranking.resamples._NUMBERS", 1)
    parts = [counts for _, counts in Resamples(20, 30, 1).chunks()]
    assert len(parts) == 4
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)
    assert (whole[:, 0] == 1).all()
    assert (whole.sum(axis=0) == 20).all()
    np.testing.assert_array_equal(interval(np.array([nan, 1.0, 1.0])), [1, 1])
    assert all(map(isnan, interval(np.full(3, nan))))


def test_better_than_params_needs_the_whole_interval() -> None:
    rng = np.random.default_rng(4)
    accuracy = rng.normal(size=64)
    assert one(accuracy[None], accuracy).better_than_params
    own = one(np.arange(64.0)[None], accuracy)
    assert own.minus_params.low == own.minus_params.high == 0
    assert not own.better_than_params


def test_failures_rank_below_all_and_tied() -> None:
    rng = np.random.default_rng(5)
    values, accuracy = rng.normal(size=(1, 30)), rng.normal(size=30)
    values[0, [3, 4]] = nan
    values[0, 5] = np.inf  # no score either
    found = one(values, accuracy)
    kept = np.isfinite(values[0])
    filled = np.where(kept, values[0], -1e9)
    assert found.failed == 3
    assert found.n == 30
    expected = stats.spearmanr(filled, accuracy).statistic
    assert found.spearman.value == pytest.approx(expected, abs=1e-12)
    expected = stats.kendalltau(filled, accuracy).statistic
    assert found.kendall.value == pytest.approx(expected, abs=1e-12)
    expected = stats.pearsonr(values[0][kept], accuracy[kept]).statistic
    assert found.pearson.value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("value", [nan, 0.1, 1e300])
@pytest.mark.parametrize("seeds", [1, 3])
def test_constant_and_failing_proxies_are_nan_and_silent(value: float, seeds: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = one(np.full((seeds, 12), value), np.arange(12.0))
    for estimate in (found.spearman, found.kendall, found.pearson, found.minus_params):
        assert all(map(isnan, (estimate.value, estimate.low, estimate.high)))
    assert all(map(isnan, (found.spearman_std, found.partial_params)))
    assert all(map(isnan, (found.precision, found.regret)))
    assert not found.better_than_params
    assert found.failed == (12 * seeds if isnan(value) else 0)


def test_a_seed_without_information_is_not_dropped() -> None:
    values = np.stack([np.arange(12.0), np.zeros(12)])
    assert isnan(one(values, np.arange(12.0)).spearman.value)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_very_few_archs(size: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = one(np.arange(float(size))[None], np.arange(float(size)))
    assert isnan(found.spearman.value) if size == 1 else found.spearman.value == 1
    assert isnan(found.spearman_std)


def test_equal_seeds_have_no_spread() -> None:
    found = one(np.tile(np.arange(20.0), (3, 1)), np.arange(20.0))
    assert (found.spearman.value, found.spearman_std) == (1, 0)


def test_precision_shares_places_among_the_tied() -> None:
    accuracy = Order.of(np.arange(20.0))
    assert precision(Order.of(np.arange(20.0)), accuracy) == 1
    assert precision(Order.of(-np.arange(20.0)), accuracy) == 0
    tied = Order.of(np.array([*[0.0] * 16, 1, 1, 1, 1]))
    assert precision(tied, accuracy) == pytest.approx(0.5)  # 2 places for 4, half of them right
    assert precision(Order.of(np.arange(21.0)), Order.of(np.r_[1, np.arange(20.0)])) == 1


def test_regret_is_the_mean_over_the_tied() -> None:
    accuracy = np.array([50.0, 60, 70, 80])
    assert regret(Order.of(np.array([0.0, 1, 2, 3])), accuracy) == 0
    assert regret(Order.of(np.array([9.0, 1, 2, nan])), accuracy) == 30
    assert regret(Order.of(np.array([9.0, 1, 9, nan])), accuracy) == 20


vectors = st.lists(st.integers(-5, 5) | st.integers(-(10**6), 10**6), min_size=4, max_size=30)


@settings(max_examples=40, deadline=None)
@given(vectors)
def test_only_pearson_sees_more_than_the_order(numbers: list[int]) -> None:
    x = np.array(numbers, dtype=float)
    accuracy = np.random.default_rng(len(numbers)).integers(0, 9, len(numbers)) / 2
    plain, bent = (one(v[None], accuracy, resamples=5) for v in (x, np.arctan(x / 1e6) ** 3))
    assert plain.failed == bent.failed == 0
    for name in ("spearman", "kendall", "partial_params", "precision", "regret", "minus_params"):
        np.testing.assert_equal(values(plain, name), values(bent, name), err_msg=name)


@settings(max_examples=40, deadline=None)
@given(vectors)
def test_a_flipped_sign_flips_correlations(numbers: list[int]) -> None:
    x = np.array(numbers, dtype=float)
    accuracy = np.random.default_rng(len(numbers)).normal(size=len(numbers))
    plain, flipped = (one(v[None], accuracy, resamples=5) for v in (x, -x))
    for name in ("spearman", "kendall", "pearson"):
        first, second = getattr(plain, name), getattr(flipped, name)
        np.testing.assert_allclose(first.value, -second.value, **CLOSE)
        np.testing.assert_allclose(first.low, -second.high, **CLOSE)
    np.testing.assert_allclose(plain.partial_params, -flipped.partial_params, **CLOSE)


@settings(max_examples=40, deadline=None)
@given(vectors.flatmap(lambda v: st.tuples(st.just(v), st.permutations(range(len(v))))))
def test_the_order_of_the_archs_does_not_matter(case: tuple[list[int], list[int]]) -> None:
    numbers, order = case
    x = np.stack([np.array(numbers, dtype=float), np.sin(numbers)])
    x[0, 0] = nan
    accuracy = np.random.default_rng(1).integers(0, 5, len(numbers)) * 1.0
    sizes = np.arange(len(numbers)) // 2 * 1.0
    target = Target("c", "t", accuracy), Target("c", "t", accuracy[order])
    plain = compute(make(x, sizes), target[:1], resamples=2)["p"][0]
    moved = compute(make(x[:, order], sizes[order]), target[1:], resamples=2)["p"][0]
    for name in ("spearman", "kendall", "pearson", "minus_params"):
        first, second = getattr(plain, name).value, getattr(moved, name).value
        np.testing.assert_allclose(first, second, err_msg=name, **CLOSE)
    for name in ("spearman_std", "partial_params", "precision", "regret", "failed"):
        np.testing.assert_allclose(getattr(plain, name), getattr(moved, name), **CLOSE)


@pytest.mark.parametrize("resamples", [0, -1, 2.5, "many", True])
def test_refuses_numbers_of_resamples(resamples: int) -> None:
    with pytest.raises(UserError, match="resamples="):
        one(np.ones((1, 4)), np.arange(4.0), resamples=resamples)


def test_refuses_missing_accuracies() -> None:
    with pytest.raises(UserError, match=r"c distilled: no accuracy is known for 1 .*a1"):
        one(np.ones((1, 3)), np.array([1.0, nan, 3.0]))
    with pytest.raises(ValueError, match="c distilled"):
        one(np.ones((1, 3)), np.array([1.0, 3.0]))
    with pytest.raises(UserError, match="nothing to rank"):
        compute(make(np.ones((1, 3))), [])
    with pytest.raises(ValueError, match="scores of p"):
        Scores(("a",), (0,), {"p": np.ones((2, 1))}, {}, np.ones(1), np.ones(1), frozenset())


def test_the_difference_to_a_control_is_paired() -> None:
    rng = np.random.default_rng(3)
    accuracy, control = rng.normal(size=40), rng.normal(size=(2, 40))
    scores = replace(
        make(accuracy + rng.normal(size=(2, 40))),
        values={"p": accuracy + 0.1 * control, "c": control, "params": np.ones((2, 40))},
        controls={"p": "c"},
    )
    found = compute(scores, [Target("d", "vanilla", accuracy)], resamples=200)
    proxy, other = found["p"][0], found["c"][0]
    assert proxy.minus_control.value == pytest.approx(proxy.spearman.value - other.spearman.value)
    assert proxy.minus_control.low < proxy.minus_control.value < proxy.minus_control.high
    assert proxy.minus_control.low > 0
    assert isnan(other.minus_control.value)
    same = replace(scores, values={**scores.values, "c": scores.values["p"]})
    twin = compute(same, [Target("d", "vanilla", accuracy)], resamples=50)["p"][0]
    assert astuple(twin.minus_control) == (0.0, 0.0, 0.0)
