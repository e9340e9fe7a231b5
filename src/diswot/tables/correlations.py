"""The figures of rankings, and of searches that scored a whole space."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from diswot.config import conf_dir
from diswot.errors import UserError
from diswot.runs import RankSummary, Run, SearchSummary, read_rank_rows, read_table
from diswot.tables.collect import Figure, Skip, but_for_seed, date_of, skipping
from diswot.tables.spec import FIELDS, STATISTICS, Spec, as_text

if TYPE_CHECKING:
    from diswot.accuracies import Benchmark
    from diswot.ranking.scores import Scores, Target

__all__ = ["known_accuracies", "of_correlations"]

_SIZES = ("params", "flops")


def of_correlations(runs: Sequence[Run], spec: Spec, skip: Skip) -> list[Figure]:
    """Spearman's ρ and Kendall's τ of every score, target by target, and of the sums.

    Searches that left no architecture out are rankings; the seeds of one search are one.
    """
    rankings = [run for run in runs if run.command == "rank"]
    figures = [f for run in rankings for f in skipping(skip, _of_ranking(run, spec), run)]
    groups: dict[str, dict[int, Run]] = {}
    for run in (run for run in runs if run.command == "search"):
        try:
            group = groups.setdefault(as_text(but_for_seed(run)), {})
        except UserError as problem:
            skip(run, str(problem))
            continue
        known = group.setdefault(cast(SearchSummary, run.summary).seed, run)
        if known is not run:
            skip(run, f"the same search as {known.path}")
    for group in groups.values():
        by_seed = [group[seed] for seed in sorted(group)]
        figures += skipping(skip, _of_group(by_seed, spec), *group.values())
    return figures


def _defined(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _of_ranking(run: Run, spec: Spec) -> Iterator[Figure]:
    """Figures of rank.csv, and of sums of the scores in scores.csv."""
    from diswot.ranking.scores import Scores, Target

    ranked, rows = cast(RankSummary, run.summary), read_rank_rows(run.path)
    shared = FIELDS["correlations"][:-1]
    own = tuple(ranked.seeds), (run.path,), date_of(run)
    settings = but_for_seed(run)
    # The order of a ranking is that of one target; a table has sizes last.
    for row in sorted(rows, key=lambda row: row.proxy in _SIZES):
        fields = {name: str(getattr(row, name)) for name in shared}
        for name in STATISTICS["correlations"]:
            yield Figure(
                {**fields, "statistic": name},
                _defined(getattr(row, name)),
                *own,
                std=_defined(row.spearman_std) if name == "spearman" else None,
                low=_defined(getattr(row, f"{name}_lo")),
                high=_defined(getattr(row, f"{name}_hi")),
                settings=settings,
            )
    if not (spec.sums and rows):
        return
    accuracies = {f"{row.dataset}_{row.target}": (row.dataset, row.target) for row in rows}
    table = read_table(run.path / "scores.csv", ("arch", "seed", *_SIZES, *accuracies))
    archs = tuple(dict.fromkeys(table["arch"]))
    try:
        wide = table.pivot(index="seed", columns="arch")
        values = {
            name: wide[name].loc[ranked.seeds, list(archs)].to_numpy(dtype=float)
            for name in table.columns.drop(["arch", "seed"])
        }
    except (KeyError, ValueError) as error:
        raise UserError(f"{run.path / 'scores.csv'} is not complete ({error})") from error
    if sums := _summed(values, spec):
        params, flops = (values[size][0] for size in _SIZES)
        scores = Scores(archs, tuple(ranked.seeds), sums, {}, params, flops, frozenset())
        targets = [Target(*pair, values[name][0]) for name, pair in accuracies.items()]
        fields = {name: str(getattr(rows[0], name)) for name in shared}
        yield from _estimated(scores, targets, Figure(fields, None, *own, settings=settings))


def _of_group(runs: Sequence[Run], spec: Spec) -> Iterator[Figure]:
    """Figures of searches of a whole space that differ in the seed alone."""
    import numpy as np

    from diswot.ranking.scores import Scores, targets_of

    summaries = [cast(SearchSummary, run.summary) for run in runs]
    first, config = summaries[0], runs[0].config
    benchmark = known_accuracies(first.space, config.get("space"))
    archs = list(benchmark.archs())
    columns = {first.proxy: "score"}
    columns |= {name: f"score_{name}" for name in config["proxy"] if name != first.proxy}
    tables = []
    for run in runs:
        table = read_table(run.path / "candidates.csv", ("arch", *_SIZES, *columns.values()))
        table = table.drop_duplicates("arch").set_index("arch")
        if missing := [arch for arch in archs if arch not in table.index]:
            raise UserError(
                f"{len(missing):,} of {len(archs):,} architectures were not scored, such as "
                f"{missing[0]}; correlations take searches with strategy=exhaustive"
            )
        tables.append(table.loc[archs])

    def of_seeds(column: str) -> Any:
        return np.stack([table[column].to_numpy(dtype=float) for table in tables])

    values = {name: of_seeds(column) for name, column in columns.items() if name not in _SIZES}
    values |= {**_summed(values, spec), **{size: of_seeds(size) for size in _SIZES}}
    params, flops = (values[size][0] for size in _SIZES)
    seeds = tuple(summary.seed for summary in summaries)
    scores = Scores(tuple(archs), seeds, values, {}, params, flops, frozenset(_SIZES))
    fields = {
        "space": first.space,
        "init": str(config["init"]["_target_"]).rpartition(".")[2].lower(),
        "teacher": first.teacher or "none",
        "data": first.data,
        "num_classes": str(first.num_classes),
    }
    paths = tuple(run.path for run in runs)
    like = Figure(fields, None, seeds, paths, date_of(*runs), settings=but_for_seed(runs[0]))
    yield from _estimated(scores, targets_of(benchmark, archs), like)


def known_accuracies(name: str, space: object) -> Benchmark:
    """The benchmark of a space, by this package's own config of it.

    What a run's config has under ``benchmark`` is neither built nor opened; of ``space``, what it
    has there, only the settings are looked at.

    Raises:
        UserError: No accuracies are known of this space, or not with its settings.
        OSError: Their file cannot be read.
    """
    from omegaconf import OmegaConf

    from diswot.accuracies import benchmark_of

    file = {file.stem: file for file in (conf_dir() / "benchmark").glob("*.yaml")}.get(name)
    if file is None:
        raise UserError(f"no accuracies are known of space {name}")
    node = OmegaConf.to_container(OmegaConf.load(file))
    settings = space if isinstance(space, Mapping) else {}
    return benchmark_of({"benchmark": node, "space": {**settings, "name": name}})


def _summed(values: Mapping[str, Any], spec: Spec) -> dict[str, Any]:
    """Sums of scores by name, ``(S, N)``, NaN where a term is; without those that lack a term."""
    import numpy as np

    from diswot.proxies.base import combine

    totals = {}
    for name, given in spec.sums.items():
        ((how, names),) = (given if isinstance(given, dict) else {"sum": given}).items()
        if set(names) <= set(values):
            terms = np.stack([values[each] for each in names], axis=-1)  # (S, N, terms)
            keys = [str(place) for place in range(len(names))]
            totals[name] = np.full(terms.shape[:2], np.nan)
            for total, own in zip(totals[name], terms, strict=True):
                scored = np.isfinite(own).all(axis=1)
                parts = [dict(zip(keys, each, strict=True)) for each in own[scored].tolist()]
                total[scored] = combine(parts, how)
    return totals


def _estimated(scores: Scores, targets: Sequence[Target], like: Figure) -> Iterator[Figure]:
    """Spearman's ρ and Kendall's τ of every score, with interval and spread over seeds."""
    import numpy as np

    from diswot.ranking.statistics import compute

    estimates = compute(scores, targets)
    single = []
    for place, seed in enumerate(scores.seeds):
        own = {name: rows[place : place + 1] for name, rows in scores.values.items()}
        single.append(compute(replace(scores, seeds=(seed,), values=own), targets, resamples=1))
    for index, target in enumerate(targets):
        for proxy, of_targets in estimates.items():
            where = {"proxy": proxy, "dataset": target.dataset, "target": target.target}
            for name in STATISTICS["correlations"]:
                estimate = getattr(of_targets[index], name)
                each = [getattr(of_seed[proxy][index], name).value for of_seed in single]
                yield replace(
                    like,
                    fields={**like.fields, **where, "statistic": name},
                    value=_defined(estimate.value),
                    std=_defined(float(np.std(each, ddof=1))) if len(each) > 1 else None,
                    low=_defined(estimate.low),
                    high=_defined(estimate.high),
                )
