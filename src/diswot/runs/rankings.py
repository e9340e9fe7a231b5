"""The outcome of a ranking; see `diswot.runs.records`."""

from dataclasses import dataclass
from math import nan

from diswot.runs.records import Summary
from diswot.runs.teachers import TeacherAccuracy


@dataclass(frozen=True, kw_only=True)
class RankSummary(Summary):
    """Conditions of a ranking of ``n`` architectures; its figures are in ``rank.csv``.

    ``teacher_accuracy`` is None without trained weights, where it was not measured, and of a merge.
    """

    space: str
    data: str = ""
    num_classes: int = 0
    init: str = ""
    teacher: str
    teacher_weights: str = "none"
    teacher_accuracy: TeacherAccuracy | None = None
    batch_size: int = 0
    image_size: int = 0
    source: str = ""
    n: int
    seeds: list[int]


@dataclass(frozen=True)
class RankRow:
    """One proxy and target; fields are the columns of rank.csv, NaN where not defined.

    ``n`` archs under a number of ``seeds``, of whose scores ``failed`` are missing; ``_lo`` and
    ``_hi`` are the limits of 95 % intervals, ``_std`` standard deviations over seeds (ddof 1).
    ``kendall`` is tau-b, ``partial_spearman_params`` Spearman with the params held fixed,
    ``precision_at_10pct`` the share of the best tenth by score that is in the best tenth by
    accuracy, ``ndcg_at_10pct`` of the best tenth too (`diswot.ranking.correlations.ndcg`),
    ``regret`` the best accuracy less that of the arch with the best score, percent points.
    ``minus_params`` and ``minus_control`` are Spearman less that of the params or of the proxy's
    control, on the same resamples.
    """

    space: str
    dataset: str
    target: str
    proxy: str
    n: int
    failed: int
    spearman: float
    spearman_lo: float
    spearman_hi: float
    spearman_std: float
    kendall: float
    pearson: float
    partial_spearman_params: float
    precision_at_10pct: float
    regret: float
    seconds_per_arch: float
    seeds: int
    data: str
    num_classes: int
    init: str
    teacher: str
    kendall_lo: float
    kendall_hi: float
    pearson_lo: float
    pearson_hi: float
    minus_params: float
    minus_params_lo: float
    minus_params_hi: float
    better_than_params: bool
    baseline: bool
    control: bool
    minus_control: float
    minus_control_lo: float
    minus_control_hi: float
    source: str
    teacher_weights: str
    batch_size: int
    image_size: int
    ndcg_at_10pct: float = nan
    kendall_std: float = nan
