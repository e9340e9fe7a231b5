"""From the records of a ranking to its table, files and picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from diswot.accuracies import Benchmark
from diswot.console import print_lines, shown
from diswot.ranking.engine import collect
from diswot.ranking.scores import Conditions, Target
from diswot.ranking.table import rank_rows
from diswot.reporting.rank import plot_rank, rank_csv, scores_csv, show_rank
from diswot.runs import RankRow, RankSummary, ScoreRecord
from diswot.runs.files import write_json
from diswot.scoring.setup import make_data, make_proxies
from diswot.versions import versions

__all__ = ["accuracies", "report"]


def accuracies(benchmark: Benchmark, archs: Sequence[str]) -> list[Target]:
    """What is known of the architectures, data set by data set.

    Args:
        benchmark: Knows them.
        archs: Text forms.

    Raises:
        UserError: An accuracy is missing.
    """
    return [
        Target(dataset, target, np.array([benchmark.accuracy(a, dataset, target) for a in archs]))
        for dataset, target in benchmark.entries()
    ]


def report(
    config: Mapping[str, Any],
    benchmark: Benchmark,
    archs: Sequence[str],
    seeds: Sequence[int],
    records: Sequence[ScoreRecord],
    *,
    path: Path,
    quiet: bool,
) -> list[RankRow]:
    """Write rank.csv, scores.csv, rank.png and result.json, show the table.

    Args:
        config: Resolved, of ``conf/rank.yaml``.
        benchmark: Knows their accuracies.
        archs: Text forms.
        seeds: As scored.
        records: One for every seed and architecture.
        path: The run directory.
        quiet: Show nothing.

    Returns:
        The rows of rank.csv.
    """
    targets = accuracies(benchmark, archs)
    scores = collect(records, archs, seeds, make_proxies(config))
    conditions = _conditions(config, benchmark)
    title = (
        f"{conditions.space} ({len(archs):,} architectures, {benchmark.source}); "
        f"teacher {conditions.teacher}, {conditions.data}, {len(seeds)} seed"
        f"{'s' if len(seeds) > 1 else ''}"
    )
    rows = rank_rows(
        scores, targets, conditions, resamples=config["resamples"], seed=config["seed"]
    )
    rank_csv(path / "rank.csv", rows)
    scores_csv(path / "scores.csv", scores, targets)
    plot_rank(path / "rank.png", rows, scores, targets, title)
    summary = RankSummary(
        **asdict(conditions), n=len(archs), seeds=list(seeds), versions=versions()
    )
    write_json(path / "result.json", asdict(summary))
    if not quiet:
        show_rank(rows)
        files = (shown(path / name) for name in ("rank.csv", "rank.png", "scores.csv"))
        print_lines([title, *(f"  {file}" for file in files)])
    return rows


def _conditions(config: Mapping[str, Any], benchmark: Benchmark) -> Conditions:
    data = make_data(config)
    return Conditions(
        space=config["space"]["name"],
        data=data.name,
        num_classes=config["num_classes"],
        init=config["init"]["_target_"].rpartition(".")[2].lower(),
        teacher=config["teacher"]["name"],
        teacher_weights=str(config["teacher"].get("weights", "none")),
        batch_size=config["data"]["batch_size"],
        image_size=data.image_size,
        source=benchmark.source,
    )
