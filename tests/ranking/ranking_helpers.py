"""Rankings so small that a test may run several, without pictures."""

import csv
import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

from diswot.commands import compose
from diswot.config import conf_dir, known_targets
from diswot.rank import merge_shards, run_rank
from diswot.runs import RankRow

Json = dict[str, Any]

TINY = [
    *("space=s0", "teacher=resnet8", "data=gaussian"),
    *("data.image_size=16", "data.batch_size=6", "benchmark.sample=5", "resamples=20"),
    *("device=cpu", "workers=1"),
]
"""Networks of a few thousand parameters."""

CONTRACT = (
    "space,dataset,target,proxy,n,failed,spearman,spearman_lo,spearman_hi,spearman_std,kendall,"
    "pearson,partial_spearman_params,precision_at_10pct,regret,seconds_per_arch,seeds,data,"
    "num_classes,init,teacher"
)
"""The first columns of rank.csv."""


no_picture = patch("diswot.reporting.rank.plot_rank")
"""Drawing takes longer than everything else."""

no_scoring = patch("diswot.scoring.pool.scoring_pool", side_effect=AssertionError("scored anew"))
"""Fail where anything is scored anew."""


def rank(path: Path, *overrides: str) -> list[RankRow]:
    """A ranking in this process."""
    with no_picture:
        return run_rank(compose("rank", [*TINY, *overrides], None), path, quiet=True)


def merged(folder: Path, **settings: Any) -> list[RankRow]:
    """The union of the shards in a folder."""
    with no_picture:
        targets = known_targets([conf_dir()])
        return merge_shards(folder, targets, resamples=20, quiet=True, **settings)


def journal(path: Path) -> list[Json]:
    return [json.loads(line) for line in (path / "scores.jsonl").read_text().splitlines()]


def bits(path: Path) -> dict[tuple[int, str], Json]:
    """Every part of every score to its last bit."""
    return {
        (line["seed"], line["arch"]): {
            proxy: {part: value.hex() for part, value in parts.items()}
            for proxy, parts in line["parts"].items()
        }
        for line in journal(path)
    }


def table(path: Path) -> list[dict[str, str]]:
    """Lines of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def results(path: Path) -> tuple[bytes, list[dict[str, str]]]:
    """Of a ranking: scores.csv, and rank.csv without what the clock decides."""
    rows = table(path / "rank.csv")
    for row in rows:
        del row["seconds_per_arch"]
    return (path / "scores.csv").read_bytes(), rows
