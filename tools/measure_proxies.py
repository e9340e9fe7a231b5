"""Measures every proxy of the package and stores the results in experiments/proxies.

``python tools/measure_proxies.py WORK`` runs in WORK (about 40 minutes on two cores; a second start
goes on where the first one ended). ``make docs`` makes docs/proxies.md of what is stored.
NAS-Bench-201 is read from the source at hand.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pandas as pd

from diswot.accuracies import benchmark_of
from diswot.commands import compose
from diswot.proxies.base import COMBINATIONS, combine
from diswot.rank import main as rank
from diswot.ranking.scores import Scores, Target
from diswot.ranking.statistics import compute
from diswot.runs import Journal, ScoreRecord, read_rank_rows
from diswot.scoring.pool import scoring_pool
from diswot.scoring.setup import Setup

STORE = Path(__file__).parents[1] / "experiments" / "proxies"
RUNS = {
    "s0": ["space=s0", "proxy=all", "control=shuffled", "seeds=3"],
    "nasbench201": [
        *("space=nasbench201", "benchmark.sample=300", "proxy=all", "control=shuffled"),
    ],
}
UNRANKED = {
    "s1": ["space=s1"],
    "s2": ["space=s2", "data.image_size=64", "data.batch_size=32", "teacher=resnet34"],
}
NEEDS = {"needs_teacher": "teacher", "needs_labels": "labels", "needs_gradients": "gradients"}


def support(space: str, work: Path) -> list[list[Any]]:
    """For every proxy: how many of three random networks it scores, seconds, or why not."""
    file = work / f"{space}.support.json"
    if not file.exists():
        config = {**compose("search", [*UNRANKED[space], "proxy=all"], None), "device": "cpu"}
        setup = Setup.from_config(config)
        rng = Random(0)
        with scoring_pool(setup.scorer, 2) as measure:
            measured = list(measure([setup.space.sample(rng) for _ in range(3)]))
        rows = []
        for name in setup.proxies:
            reasons = [each.failures[name] for each in measured if name in each.failures]
            seconds = [each.seconds_each[name] for each in measured if name in each.seconds_each]
            mean = round(float(np.mean(seconds)), 4) if seconds else None
            rows.append([name, space, 3 - len(reasons), 3, mean, *reasons[:1]])
        file.write_text(json.dumps(rows), encoding="utf-8")
    rows = json.loads(file.read_text(encoding="utf-8"))
    return [row if len(row) == 6 else [*row, ""] for row in rows]


def ranked_support(space: str, work: Path) -> Iterator[list[Any]]:
    """The same of a space with known accuracies, from its ranking."""
    for name, row in {row.proxy: row for row in read_rank_rows(work / space)}.items():
        if "@" not in name:
            total = row.n * row.seeds
            yield [name, space, total - row.failed, total, row.seconds_per_arch, ""]


def needs() -> Iterator[list[Any]]:
    """What every proxy reads besides the network, bound as in a search of S0."""
    config = {**compose("search", ["space=s0", "proxy=all"], None), "device": "cpu"}
    for name, proxy in Setup.from_config(config).proxies.items():
        yield [name, " ".join(word for flag, word in NEEDS.items() if getattr(proxy, flag))]


def combinations(work: Path) -> Iterator[list[Any]]:
    """Sum, z-score sum and rank sum of DisWOT's parts on every target, from the scored parts."""
    for space, settings in RUNS.items():
        config = compose("rank", settings, None)
        benchmark = benchmark_of(config)
        archs = benchmark.select(config["seed"])
        records = [r for r, _ in Journal(work / space / ScoreRecord.file, ScoreRecord).read()]
        scores = _combined(records, archs)
        for dataset, target in benchmark.entries():
            accuracy = np.array([benchmark.accuracy(arch, dataset, target) for arch in archs])
            found = compute(scores, [Target(dataset, target, accuracy)])
            for name in ("semantic", "relation", *COMBINATIONS, "params"):
                rho = found[name][0].spearman
                yield [space, dataset, target, name, rho.value, rho.low, rho.high]


def _combined(records: Sequence[ScoreRecord], archs: Sequence[str]) -> Scores:
    known = {(record.seed, record.arch): record for record in records}
    seeds = sorted({record.seed for record in records})
    values: dict[str, list[list[float]]] = {}
    for seed in seeds:
        parts = [known[seed, arch].parts["diswot"] for arch in archs]
        columns = {
            **{part: [each[part] for each in parts] for part in ("semantic", "relation")},
            **{how: combine(parts, how) for how in COMBINATIONS},
            "params": [known[seed, arch].parts["params"]["params"] for arch in archs],
        }
        for name, column in columns.items():
            values.setdefault(name, []).append(column)
    arrays = {name: np.array(rows) for name, rows in values.items()}
    sizes = arrays["params"][0]
    seconds = dict.fromkeys(arrays, 0.0)
    return Scores(tuple(archs), tuple(seeds), arrays, seconds, sizes, sizes, frozenset())


def _store(name: str, columns: Sequence[str], rows: Iterator[list[Any]] | list[list[Any]]) -> None:
    with (STORE / name).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([columns, *rows])


def main() -> None:
    """Run, then store."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    work = Path(sys.argv[1]).resolve()
    STORE.mkdir(exist_ok=True)
    for space, settings in RUNS.items():
        if rank([*settings, f"hydra.run.dir={work / space}"]) != 0:
            sys.exit(1)
        table = pd.read_csv(work / space / "rank.csv", dtype=str, keep_default_na=False)
        table["source"] = [
            Path(source).name for source in table["source"]
        ]  # not where it lies here
        table.to_csv(STORE / f"{space}.csv", index=False, lineterminator="\n")
    supported = [row for space in RUNS for row in ranked_support(space, work)]
    supported += [row for space in UNRANKED for row in support(space, work)]
    _store("support.csv", ["proxy", "space", "scored", "tried", "seconds", "reason"], supported)
    _store("needs.csv", ["proxy", "needs"], needs())
    columns = ["space", "dataset", "target", "score", "spearman", "low", "high"]
    _store("combinations.csv", columns, combinations(work))


if __name__ == "__main__":
    main()
