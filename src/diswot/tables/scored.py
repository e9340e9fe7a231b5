"""From the scores of all architectures to records of how well each score predicts accuracies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from diswot.proxies.combine import combine
from diswot.ranking.scores import Scores, Target
from diswot.ranking.statistics import Estimate, Statistics, compute
from diswot.tables.records import Record

__all__ = ["Origin", "sums_of", "to_records"]

Values = NDArray[np.float64]


class Origin(NamedTuple):
    """What all records of some scores share: their fields, runs, date and settings."""

    fields: Mapping[str, str]
    paths: tuple[Path, ...]
    date: str
    settings: Mapping[str, str]


def to_records(scores: Scores, targets: Sequence[Target], origin: Origin) -> list[Record]:
    """Spearman's ρ and Kendall's τ of every score, with interval and spread over seeds.

    Args:
        scores: Of N archs.
        targets: Their accuracies.
        origin: Of the scores.
    """
    table = compute(scores, targets)
    seeds = [compute(each, targets, resamples=1) for each in _single(scores)]
    records = []
    for index, target in enumerate(targets):
        for proxy, found in table.items():
            fields = {
                **origin.fields,
                **{"proxy": proxy, "dataset": target.dataset, "target": target.target},
            }
            single = [of_seed[proxy][index] for of_seed in seeds]
            records += _records(fields, found[index], single, scores.seeds, origin)
    return records


def _records(
    fields: Mapping[str, str],
    found: Statistics,
    single: Sequence[Statistics],
    seeds: tuple[int, ...],
    origin: Origin,
) -> list[Record]:
    pairs: dict[str, tuple[Estimate, list[float]]] = {
        "spearman": (found.spearman, [each.spearman.value for each in single]),
        "kendall": (found.kendall, [each.kendall.value for each in single]),
    }
    return [
        Record(
            {**fields, "statistic": name},
            _defined(estimate.value),
            seeds,
            origin.paths,
            origin.date,
            std=_defined(float(np.std(values, ddof=1))) if len(values) > 1 else None,
            low=_defined(estimate.low),
            high=_defined(estimate.high),
            settings=origin.settings,
        )
        for name, (estimate, values) in pairs.items()
    ]


def _defined(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _single(scores: Scores) -> list[Scores]:
    """The scores of each seed by itself."""
    return [
        replace(
            scores,
            seeds=(seed,),
            values={name: rows[place : place + 1] for name, rows in scores.values.items()},
            controls={},
        )
        for place, seed in enumerate(scores.seeds)
    ]


def sums_of(
    values: Mapping[str, Values], sums: Mapping[str, tuple[str, tuple[str, ...]]]
) -> dict[str, Values]:
    """Sums of scores, by name; those of which a term is missing are left out.

    Args:
        values: Score → (S, N), NaN where an architecture could not be scored.
        sums: See `diswot.tables.spec.Spec`.

    Returns:
        Sum → (S, N), NaN where a term is.
    """
    return {
        name: np.stack(
            [_added(rows, how) for rows in zip(*(values[t] for t in terms), strict=True)]
        )
        for name, (how, terms) in sums.items()
        if set(terms) <= set(values)
    }


def _added(rows: Sequence[Values], how: str) -> Values:
    """(N,), the sum of the terms of one seed."""
    terms = np.stack(rows)
    scored = np.isfinite(terms).all(axis=0)
    names = [str(place) for place in range(len(terms))]
    parts = [dict(zip(names, each, strict=True)) for each in terms[:, scored].T.tolist()]
    total = np.full(terms.shape[1], np.nan)
    total[scored] = combine(parts, how)
    return total
