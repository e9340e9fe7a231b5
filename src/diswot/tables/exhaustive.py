"""Searches that scored a whole space, as rankings of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from diswot.accuracies import Benchmark, benchmark_of
from diswot.config import conf_dir
from diswot.errors import UserError
from diswot.ranking.scores import Scores, Target
from diswot.runs import Run
from diswot.tables.conditions import but_for_seed
from diswot.tables.records import Record, Skip, UnusableError, date_of, read_lines
from diswot.tables.scored import Origin, Values, sums_of, to_records
from diswot.tables.spec import Spec

__all__ = ["of_exhaustive"]

_SIZES = ("params", "flops")


def of_exhaustive(runs: Sequence[Run], spec: Spec, skip: Skip) -> list[Record]:
    """Records of the searches that left no architecture out; seeds of one search are one ranking.

    Args:
        runs: Finished ones; those of other commands are left out.
        spec: Of the table, for its sums.
        skip: Called with searches that cannot be used.
    """
    groups: dict[str, dict[int, Run]] = {}
    for run in runs:
        if run.command != "search":
            continue
        if type(run.result["seed"]) is not int or not isinstance(run.config.get("proxy"), Mapping):
            skip(run, "the seed in result.json or the proxies in config.json are damaged")
            continue
        try:
            settings = json.dumps(but_for_seed(run), sort_keys=True)
        except UnusableError as problem:
            skip(run, str(problem))
            continue
        seeds = groups.setdefault(settings, {})
        known = seeds.setdefault(run.result["seed"], run)
        if known is not run:
            skip(run, f"the same search as {known.path}")
    records: list[Record] = []
    for group in groups.values():
        try:
            records += _of_group([group[seed] for seed in sorted(group)], spec)
        except (UnusableError, UserError) as problem:
            for run in group.values():
                skip(run, str(problem))
    return records


def _of_group(runs: Sequence[Run], spec: Spec) -> list[Record]:
    benchmark = _benchmark(runs[0])
    archs = list(benchmark.archs())
    tables = [_by_arch(run, archs) for run in runs]
    names = _score_columns(runs[0])
    values = {
        name: np.stack([_column(table, archs, column) for table in tables])
        for name, column in names.items()
        if name not in _SIZES
    }
    sizes = {size: _column(tables[0], archs, size) for size in _SIZES}
    baselines = {name: np.stack([row] * len(runs)) for name, row in sizes.items()}
    scores = Scores(
        archs=tuple(archs),
        seeds=tuple(run.result["seed"] for run in runs),
        values={**values, **sums_of(values, spec.sums), **baselines},
        seconds={},
        params=sizes["params"],
        flops=sizes["flops"],
        baselines=frozenset(_SIZES),
    )
    targets = [
        Target(dataset, target, np.array([benchmark.accuracy(a, dataset, target) for a in archs]))
        for dataset, target in benchmark.entries()
    ]
    paths = tuple(run.path for run in runs)
    origin = Origin(_fields(runs[0]), paths, date_of(runs), but_for_seed(runs[0]))
    return to_records(scores, targets, origin)


def _fields(run: Run) -> dict[str, str]:
    init = run.config.get("init")
    named = str(init.get("_target_")) if isinstance(init, Mapping) else ""
    return {
        "space": str(run.result["space"]),
        "init": named.rpartition(".")[2].lower(),
        "teacher": str(run.result.get("teacher") or "none"),
        "data": str(run.result.get("data")),
        "num_classes": str(run.result.get("num_classes")),
    }


def _benchmark(run: Run) -> Benchmark:
    """The accuracies of the run's space; what they are is said by the package, not by the run."""
    name = str(run.result["space"])
    file = {file.stem: file for file in (conf_dir() / "benchmark").glob("*.yaml")}.get(name)
    if file is None:
        raise UnusableError(f"no accuracies are known of space {name}")
    return benchmark_of({"benchmark": _node(file), "space": _settings(run, name)})


def _node(file: Any) -> Any:
    from omegaconf import OmegaConf

    return OmegaConf.to_container(OmegaConf.load(file))


def _settings(run: Run, name: str) -> dict[str, Any]:
    space = run.config.get("space")
    return {**space, "name": name} if isinstance(space, Mapping) else {"name": name}


def _by_arch(run: Run, archs: Sequence[str]) -> dict[str, dict[str, str]]:
    lines = {line["arch"]: line for line in read_lines(run.path / "candidates.csv", _needed(run))}
    missing = [arch for arch in archs if arch not in lines]
    if missing:
        raise UnusableError(
            f"{len(missing):,} of {len(archs):,} architectures were not scored, such as "
            f"{missing[0]}; correlations take searches with strategy=exhaustive"
        )
    return lines


def _needed(run: Run) -> list[str]:
    return ["arch", *_SIZES, *_score_columns(run).values()]


def _score_columns(run: Run) -> dict[str, str]:
    """Column of candidates.csv by proxy, the fitness first."""
    others = [name for name in run.config["proxy"] if name != run.result["proxy"]]
    return {str(run.result["proxy"]): "score"} | {name: f"score_{name}" for name in others}


def _column(table: Mapping[str, Mapping[str, str]], archs: Sequence[str], name: str) -> Values:
    """(N,), NaN where there is no number."""
    try:
        return np.array([float(table[arch][name] or "nan") for arch in archs])
    except ValueError as error:
        raise UnusableError(f"candidates.csv, column {name}: {error}") from error
