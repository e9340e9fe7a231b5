"""Records of how well scores predict accuracies: of rankings, and of searches of a whole space."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from diswot.errors import UserError
from diswot.ranking.scores import Scores, Target
from diswot.runs import Run
from diswot.tables.conditions import but_for_seed
from diswot.tables.exhaustive import of_exhaustive
from diswot.tables.records import Record, Skip, UnusableError, date_of, read_lines
from diswot.tables.scored import Origin, Values, sums_of, to_records
from diswot.tables.spec import FIELDS, STATISTICS, Spec

__all__ = ["of_correlations"]

_SHARED = FIELDS["correlations"][:-1]
"""Columns of rank.csv that are fields as they are."""


def of_correlations(runs: Sequence[Run], spec: Spec, skip: Skip) -> list[Record]:
    """Spearman's ρ and Kendall's τ of every score, target by target, and of the sums.

    Args:
        runs: Finished ones; trainings are left out.
        spec: Of the table, for its sums.
        skip: Called with runs that cannot be used.
    """
    records: list[Record] = []
    for run in runs:
        if run.command == "rank":
            try:
                records += _of_ranking(run, spec)
            except (UnusableError, UserError) as problem:
                skip(run, str(problem))
    return records + of_exhaustive(runs, spec, skip)


def _of_ranking(run: Run, spec: Spec) -> list[Record]:
    limits = [f"{name}_{end}" for name in STATISTICS["correlations"] for end in ("lo", "hi")]
    needed = [*_SHARED, *STATISTICS["correlations"], *limits, "spearman_std", "baseline"]
    lines = read_lines(run.path / "rank.csv", needed)
    # The order of a ranking is that of one target; a table has sizes last.
    lines.sort(key=lambda line: line["proxy"] in ("params", "flops"))
    settings = but_for_seed(run)
    records = [
        _record(run, settings, line, statistic)
        for line in lines
        for statistic in STATISTICS["correlations"]
    ]
    return [*records, *_of_sums(run, lines, spec)] if spec.sums else records


def _record(run: Run, settings: Mapping[str, str], line: dict[str, str], statistic: str) -> Record:
    return Record(
        {**{field: line[field] for field in _SHARED}, "statistic": statistic},
        _number(line[statistic]),
        _seeds(run),
        (run.path,),
        date_of([run]),
        std=_number(line.get(f"{statistic}_std", "")),
        low=_number(line[f"{statistic}_lo"]),
        high=_number(line[f"{statistic}_hi"]),
        settings=settings,
    )


def _of_sums(run: Run, ranked: Sequence[dict[str, str]], spec: Spec) -> list[Record]:
    if not ranked:
        raise UnusableError("rank.csv is empty")
    targets = list(dict.fromkeys((line["dataset"], line["target"]) for line in ranked))
    accuracies = [f"{dataset}_{target}" for dataset, target in targets]
    lines = read_lines(run.path / "scores.csv", ["arch", "seed", "params", "flops", *accuracies])
    if not lines:
        raise UnusableError("scores.csv is empty")
    archs = tuple(dict.fromkeys(line["arch"] for line in lines))
    seeds = _seeds(run)
    places = {(line["seed"], line["arch"]): place for place, line in enumerate(lines)}
    try:
        order = [places[str(seed), arch] for seed in seeds for arch in archs]
    except KeyError as error:
        raise UnusableError("scores.csv is not complete") from error

    def rows(name: str) -> Values:
        numbers = [_number(lines[place][name]) for place in order]
        return np.array(numbers, dtype=np.float64).reshape(len(seeds), -1)

    terms = {term for _, added in spec.sums.values() for term in added} & set(lines[0])
    sums = sums_of({term: rows(term) for term in terms}, spec.sums)
    if not sums:
        return []
    params, flops = rows("params")[0], rows("flops")[0]
    scores = Scores(archs, seeds, sums, {}, params, flops, frozenset())
    known = zip(targets, accuracies, strict=True)
    fields = {field: ranked[0][field] for field in _SHARED}
    origin = Origin(fields, (run.path,), date_of([run]), but_for_seed(run))
    return to_records(scores, [Target(*pair, rows(name)[0]) for pair, name in known], origin)


def _seeds(run: Run) -> tuple[int, ...]:
    seeds = run.result["seeds"]
    if not isinstance(seeds, list) or not seeds or not all(type(seed) is int for seed in seeds):
        raise UnusableError("the seeds in result.json are damaged")
    return tuple(seeds)


def _number(text: str) -> float | None:
    try:
        value = float(text) if text else None
    except ValueError as error:
        raise UnusableError(f"{text!r} in a table of it is no number") from error
    if value is not None and not math.isfinite(value):
        raise UnusableError(f"{text!r} in a table of it is not finite")
    return value
