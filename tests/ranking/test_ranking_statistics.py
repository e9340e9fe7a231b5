"""Statistics of a ranking against scipy and by their properties."""

from dataclasses import replace
from math import isnan, nan
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from diswot.errors import UserError
from diswot.ranking import correlations as corr
from diswot.ranking.correlations import Kendall, Ordering, ndcg, pearson, precision, regret
from diswot.ranking.scores import Scores, Target
from diswot.ranking.statistics import Bootstrap, interval, rank_rows
from diswot.runs import RankRow

Array = NDArray[np.float64]
CLOSE = {"rtol": 0, "atol": 1e-12}


CONDITIONS = {
    **{"space": "s0", "data": "fashion_mini", "num_classes": 100, "init": "gaussian"},
    **{"teacher": "resnet56", "teacher_weights": "none", "batch_size": 64, "image_size": 28},
    "source": "embedded",
}


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


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


def of(scores: Scores, targets: list[Target], **others: Any) -> dict[str, RankRow]:
    """The row of each proxy, for one target."""
    return {row.proxy: row for row in rank_rows(scores, targets, CONDITIONS, **others)}


def one(values: Array, accuracy: Array, params: Array | None = None, **others: Any) -> RankRow:
    targets = [Target("c", "distilled", accuracy)]
    return of(make(values, params), targets, **{"resamples": 50, **others})["p"]


def ends(row: RankRow, name: str) -> list[float]:
    return [getattr(row, f"{name}{end}") for end in ("_lo", "_hi")]


def close(actual: Any, expected: Any, **settings: Any) -> None:
    np.testing.assert_allclose(actual, expected, **{**CLOSE, **settings})


def example(seed: int, size: int, levels: int) -> tuple[Array, Array, Array]:
    """Two vectors with ties and counts with archs that were not drawn."""
    draw = rng(seed)
    x = draw.integers(levels, size=size) * 1.5 - 3
    y = x + draw.integers(levels, size=size)
    counts = np.bincount(draw.integers(size, size=size), minlength=size)
    return x, y, np.stack([counts] * 2, 1) * 1.0


def drawn(values: Array, counts: Array) -> Array:
    return np.repeat(values, counts[:, 0].astype(int))


@pytest.mark.parametrize("levels", [3, 6, 100_000])
@pytest.mark.parametrize("size", [5, 64, 700])
def test_weighted_correlations_are_scipys_on_repeated_archs(size: int, levels: int) -> None:
    x, y, counts = example(size + levels, size, levels)
    left, right = drawn(x, counts), drawn(y, counts)
    first, second = Ordering.of(x), Ordering.of(y)
    rho = corr.spearman(first.ranks(counts), second.ranks(counts))
    close(rho, stats.spearmanr(left, right).statistic)
    close(pearson(x, y, counts), stats.pearsonr(left, right).statistic)
    close(Kendall(first, second)(counts), stats.kendalltau(left, right).statistic)


@pytest.mark.parametrize("limit", [1, 3, 10, 1000])
@pytest.mark.parametrize("levels", [3, 20, 10**9])
def test_kendall_does_not_depend_on_bins(limit: int, levels: int) -> None:
    x, y, counts = example(levels, 200, levels)
    x[:90] = nan  # a group far larger than a bin
    filled = drawn(np.where(np.isnan(x), -100, x), counts)
    expected = stats.kendalltau(filled, drawn(y, counts)).statistic
    for first, second in ((x, y), (y, x)):
        close(Kendall(Ordering.of(first), Ordering.of(second), limit)(counts), expected)


def test_pearson_of_scores_of_many_magnitudes() -> None:
    draw = rng(0)
    large, y = 10.0 ** draw.uniform(-5, 200, 50), draw.normal(size=50)
    small = 10.0 ** draw.uniform(0, 3, 50)
    small[0] = 1e18
    for x in (large, small):
        counts = np.ones((50, 2))
        counts[np.argmax(x), 1] = 0  # far smaller scores are left, which must not be rounded away
        kept = x < x.max()
        expected = stats.pearsonr(x[kept] / x[kept].max(), y[kept]).statistic
        close(pearson(x, y, counts)[1], expected)


def test_point_estimates_are_means_over_seeds_and_failures_rank_below_all_and_tied() -> None:
    values, accuracy = rng(1).normal(size=(3, 40)), rng(2).uniform(60, 70, 40)
    values[:, 5] = values[:, 6]
    values[0, [3, 4]] = nan
    values[0, 5] = np.inf  # no score either
    result, kept = one(values, accuracy), np.isfinite(values)
    rows = np.where(kept, values, -1e9)
    assert (result.failed, result.n) == (3, 40)
    rhos = [stats.spearmanr(row, accuracy).statistic for row in rows]
    taus = [stats.kendalltau(row, accuracy).statistic for row in rows]
    linear = [stats.pearsonr(v[k], accuracy[k])[0] for v, k in zip(values, kept, strict=True)]
    for value, each in ((result.spearman, rhos), (result.kendall, taus), (result.pearson, linear)):
        close(value, np.mean(each))
    close(result.spearman_std, np.std(rhos, ddof=1))
    close(result.kendall_std, np.std(taus, ddof=1))
    own = stats.spearmanr(np.arange(40), accuracy).statistic
    close(result.minus_params, np.mean(rhos) - own)


def test_partial_is_the_correlation_of_residual_ranks() -> None:
    values, accuracy = rng(2).normal(size=(1, 60)), rng(3).normal(size=60)
    ranks = [stats.rankdata(v) for v in (values[0], accuracy, np.arange(60))]
    residuals = [y - np.polyval(np.polyfit(ranks[2], y, 1), ranks[2]) for y in ranks[:2]]
    close(
        one(values, accuracy).partial_spearman_params,
        stats.pearsonr(*residuals).statistic,
        atol=1e-10,
    )
    score, goal = Ordering.of(values[0]), Ordering.of(accuracy)
    assert isnan(corr.partial(score, goal, z=goal))


def test_intervals_are_percentiles_over_the_resamples() -> None:
    values, accuracy = rng(3).normal(size=(2, 30)), rng(4).normal(size=30)
    generator = np.random.Generator(np.random.PCG64(7))
    differences, rhos = [], []
    for _ in range(80):
        picks = generator.integers(30, size=30)
        rho = np.mean([stats.spearmanr(row[picks], accuracy[picks]).statistic for row in values])
        rhos.append(rho)
        differences.append(rho - stats.spearmanr(picks, accuracy[picks]).statistic)
    result = one(values, accuracy, resamples=80, seed=7)
    for name, samples in {"spearman": rhos, "minus_params": differences}.items():
        close(ends(result, name), np.quantile(samples, (0.025, 0.975)))
    assert interval(np.array([nan, 1.0, 1.0])) == (1, 1)
    assert all(map(isnan, interval(np.full(3, nan))))


def test_resamples_do_not_depend_on_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    bootstrap = Bootstrap([np.arange(20.0)], 30, 1)
    whole = np.concatenate(list(bootstrap.chunks()), axis=1)
    monkeypatch.setattr("diswot.ranking.statistics._NUMBERS", 1)
    parts = list(bootstrap.chunks())
    assert len(parts) == 4
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)
    assert (whole[:, 0] == 1).all()
    assert (whole.sum(axis=0) == 20).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [nan, 0.1, 1e300])
@pytest.mark.parametrize("seeds", [1, 3])
def test_constant_and_failing_proxies_are_nan_and_silent(value: float, seeds: int) -> None:
    result = one(np.full((seeds, 12), value), np.arange(12.0))
    for name in ("spearman", "kendall", "pearson", "minus_params"):
        assert all(map(isnan, [getattr(result, name), *ends(result, name)]))
    single = (result.spearman_std, result.partial_spearman_params, result.precision_at_10pct)
    assert all(map(isnan, [*single, result.regret]))
    assert result.failed == (12 * seeds if isnan(value) else 0)


@pytest.mark.filterwarnings("error")
def test_very_few_archs_equal_seeds_and_one_without_information() -> None:
    for size, rho in {1: nan, 2: 1.0, 3: 1.0}.items():
        result = one(np.arange(float(size))[None], np.arange(float(size)))
        np.testing.assert_equal((result.spearman, result.spearman_std), (rho, nan))
    same = one(np.tile(np.arange(20.0), (3, 1)), np.arange(20.0))
    assert (same.spearman, same.spearman_std) == (1, 0)
    assert isnan(one(np.stack([np.arange(12.0), np.zeros(12)]), np.arange(12.0)).spearman)


def test_precision_and_regret_share_places_among_the_tied() -> None:
    ascending = Ordering.of(np.arange(20.0))
    assert precision(ascending, ascending) == 1
    assert precision(Ordering.of(-np.arange(20.0)), ascending) == 0
    tied = Ordering.of(np.array([*[0.0] * 16, 1, 1, 1, 1]))
    assert precision(tied, ascending) == 0.5  # 2 places for 4, half of them right
    assert precision(Ordering.of(np.arange(21.0)), Ordering.of(np.r_[1, np.arange(20.0)])) == 1
    for scores, lost in (([0, 1, 2, 3], 0), ([9, 1, 2, nan], 30), ([9, 1, 9, nan], 20)):
        assert regret(Ordering.of(np.array(scores)), np.array([50.0, 60, 70, 80])) == lost


vectors = st.lists(st.integers(-5, 5) | st.integers(-(10**6), 10**6), min_size=4, max_size=30)


@settings(max_examples=40, deadline=None)
@given(vectors.flatmap(lambda v: st.tuples(st.just(v), st.permutations(range(len(v))))))
def test_the_order_of_the_archs_does_not_matter(case: tuple[list[int], list[int]]) -> None:
    numbers, order = case
    x = np.stack([np.array(numbers, dtype=float), np.sin(numbers)])
    x[0, 0] = nan
    accuracy, sizes = rng(1).integers(0, 5, len(numbers)) * 1.0, np.arange(len(numbers)) // 2 * 1.0
    plain = one(x, accuracy, sizes, resamples=2)
    moved = one(x[:, order], accuracy[order], sizes[order], resamples=2)
    for name in ("spearman", "kendall", "pearson", "minus_params"):
        close(getattr(plain, name), getattr(moved, name), err_msg=name)
    for name in ("spearman_std", "partial_spearman_params", "precision_at_10pct", "regret"):
        close(getattr(plain, name), getattr(moved, name))
    assert plain.failed == moved.failed


def test_refuses_missing_accuracies_and_no_resamples() -> None:
    for resamples in (0, 2.5, True):
        with pytest.raises(UserError, match="resamples="):
            one(np.ones((1, 4)), np.arange(4.0), resamples=resamples)
    with pytest.raises(UserError, match=r"c distilled: no accuracy is known for 1 .*a1"):
        one(np.ones((1, 3)), np.array([1.0, nan, 3.0]))
    with pytest.raises(UserError, match="nothing to rank"):
        of(make(np.ones((1, 3))), [])


def test_the_difference_to_a_control_is_paired() -> None:
    accuracy, control = rng(3).normal(size=40), rng(4).normal(size=(2, 40))
    values = {"p": accuracy + 0.1 * control, "c": control, "params": np.ones((2, 40))}
    scores = replace(make(control), values=values, controls={"p": "c"})
    target = [Target("d", "vanilla", accuracy)]
    rows = of(scores, target, resamples=200)
    proxy, other = rows["p"], rows["c"]
    assert proxy.minus_control == pytest.approx(proxy.spearman - other.spearman)
    low, high = ends(proxy, "minus_control")
    assert 0 < low < proxy.minus_control < high
    assert isnan(other.minus_control)
    same = replace(scores, values={**scores.values, "c": scores.values["p"]})
    equal = of(same, target, resamples=50)["p"]
    assert [equal.minus_control, *ends(equal, "minus_control")] == [0, 0, 0]


@pytest.fixture(scope="module")
def rows() -> list[RankRow]:
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
    return rank_rows(scores, targets, CONDITIONS, resamples=100)


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


def test_ndcg_written_out() -> None:
    accuracy = rng(0).uniform(50, 90, 45)
    scores = accuracy + rng(1).normal(0, 15, 45)
    places = range(1, 6)  # the best tenth of 45, rounded up

    def gain(order: Array) -> float:
        return sum((accuracy[order[i - 1]] - accuracy.min()) / np.log2(1 + i) for i in places)

    expected = gain(np.argsort(-scores)) / gain(np.argsort(-accuracy))
    assert ndcg(Ordering.of(scores), accuracy) == pytest.approx(expected)
    assert 0 < expected < 1
    assert ndcg(Ordering.of(accuracy), accuracy) == pytest.approx(1)
    tied = ndcg(Ordering.of(np.zeros(45)), accuracy)  # any order: the mean gain everywhere
    assert tied == pytest.approx(
        sum((accuracy - accuracy.min()).mean() / np.log2(1 + i) for i in places)
        / gain(np.argsort(-accuracy))
    )
