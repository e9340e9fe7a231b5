"""Rankings so small that a test may run several."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diswot.commands import compose
from diswot.rank import run_rank
from diswot.runs import RankRow

Json = dict[str, Any]

TINY = [
    *("space=s0", "teacher=resnet8", "data=gaussian"),
    *("data.image_size=16", "data.batch_size=6", "benchmark.sample=5", "resamples=20"),
    *("device=cpu", "workers=1"),
]
"""Networks of a few thousand parameters."""

TARGETS = ("vanilla", "distilled")


def rank(path: Path, *overrides: str, config_dir: Path | None = None) -> list[RankRow]:
    """A ranking in this process."""
    return run_rank(compose("rank", [*TINY, *overrides], config_dir), path, quiet=True)


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


def untimed(path: Path) -> list[dict[str, str]]:
    """Lines of a rank.csv without what the clock decides."""
    return [{k: v for k, v in row.items() if k != "seconds_per_arch"} for row in table(path)]


def proxies_of(rows: Sequence[RankRow]) -> set[str]:
    return {row.proxy for row in rows}
