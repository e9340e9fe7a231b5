"""Measures every proxy of the package and stores the results in experiments/proxies.

``python tools/measure_proxies.py WORK`` runs in WORK (for hours on two cores; a second start goes
on where the first one ended); with names of `SPACES` behind it, those alone. ``make docs`` makes
docs/proxies.md of what is stored, and searches say from the package's validated.csv how far their
score is known to hold. tools/choose_score.py compares what is left in WORK. NAS-Bench-201 is read
from the source at hand.
"""

from __future__ import annotations

import csv
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pandas as pd
from choose_score import MEMBERS

from diswot.commands import compose
from diswot.config import conf_dir
from diswot.rank import main as rank
from diswot.scoring.pool import scoring_pool
from diswot.scoring.setup import Setup

ROOT = Path(__file__).parents[1]
STORE = ROOT / "experiments" / "proxies"
ASSETS = ROOT / "src" / "diswot" / "assets"
_SEMANTIC = "diswot.proxies.diswot.Semantic"
FURTHER = {
    **{
        f"semantic_{form}": {"_target_": _SEMANTIC, "form": form}
        for form in ("classes", "images", "images_relu")
    },
    "relation_before": {"_target_": "diswot.proxies.diswot.Relation", "normalise": "before"},
    "effective_width_fan": {
        "_target_": "diswot.proxies.channels.EffectiveWidth",
        "weight": "sqrt_fan_in",
    },
}
"""Proxies of the package with other settings, by name."""

SPACES = {
    "s0": ["space=s0"],
    "s1": ["space=s1"],
    "nasbench201_live": ["space=nasbench201", "benchmark.cells=live", "benchmark.sample=200"],
    "nasbench201_600": ["space=nasbench201", "benchmark.cells=live", "benchmark.sample=600"],
    "timm": ["space=timm", "teacher=timm", "data.image_size=64", "data.batch_size=16"],
    "autoformer": ["space=autoformer", "data.image_size=64", "data.batch_size=32"],
    "pit": ["space=pit", "data.image_size=64", "data.batch_size=32"],
}
"""The settings of every ranking; nasbench201_600 is of the candidates for the recommended score
alone. nasbench201.csv (of all cells) and combinations.csv are of an earlier version."""

SUPPORTED = ("s0", "s1", "nasbench201_live")  # all proxies are measured there
OTHER_FAMILIES = ("timm", "autoformer", "pit")  # no further readings and no control there
SEEDS = {"s0": 3, "s1": 3, "nasbench201_live": 3, "pit": 2, "autoformer": 2}
UNRANKED = {"s2": ["space=s2", "data.image_size=64", "data.batch_size=32", "teacher=resnet34"]}
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


def further_words() -> list[str]:
    """Overrides that add the proxies of `FURTHER` to a ranking."""
    return [
        f"+proxy.{name}={{{','.join(f'{k}:{v}' for k, v in {**node, 'name': name}.items())}}}"
        for name, node in FURTHER.items()
    ]


def rankings(space: str, work: Path) -> pd.DataFrame:
    """Rows of rank.csv, as text, of every proxy and those of `FURTHER`; runs what is left."""
    names = [file.stem for file in sorted((conf_dir() / "proxy").glob("*.yaml"))]
    chosen = ["diswot", *(name for name in names if name not in ("diswot", "ensemble"))]
    control = ["control=shuffled"]
    if space == "nasbench201_600":
        chosen, control = [name for name in chosen if name in {*MEMBERS, "recommended"}], []
    further = [] if space in OTHER_FAMILIES else [*further_words(), *control]
    words = [f"proxy=[{','.join(chosen)}]", *further, f"seeds={SEEDS.get(space, 1)}"]
    if rank([*SPACES[space], *words, f"hydra.run.dir={work / space}"]) != 0:
        sys.exit(1)
    table = pd.read_csv(work / space / "rank.csv", dtype=str, keep_default_na=False)
    table["source"] = [Path(source).name for source in table["source"]]  # not where it lies here
    return table


def supported(table: pd.DataFrame) -> Iterator[list[Any]]:
    """As `support`, of a space with known accuracies, from its rankings."""
    for name, row in table.drop_duplicates("proxy").set_index("proxy").iterrows():
        if "@" not in str(name) and name not in FURTHER:
            total = int(row["n"]) * int(row["seeds"])
            scored = total - int(row["failed"])
            yield [name, row["space"], scored, total, round(float(row["seconds_per_arch"]), 4), ""]


def validated(table: pd.DataFrame) -> Iterator[list[Any]]:
    """Spearman of every proxy of the package beside that of the parameters, target by target.

    Of the other families only the distilled targets: they have six or seven.
    """
    for (dataset, target), own in table.groupby(["dataset", "target"], sort=False):
        if own["space"].iloc[0] in OTHER_FAMILIES and target != "distilled":
            continue
        rows = own.set_index("proxy")
        for name, row in rows.iterrows():
            if "@" not in str(name) and name not in FURTHER and row["spearman"]:
                known = [row[key] for key in ("spearman", "spearman_lo", "spearman_hi")]
                known.append(rows.at["params", "spearman"])
                known += [row[f"minus_params{end}"] for end in ("", "_lo", "_hi")]
                figures = [round(float(value), 4) if value else "" for value in known]
                yield [row["space"], name, dataset, target, row["n"], row["seeds"], *figures]


def needs() -> Iterator[list[Any]]:
    """What every proxy reads besides the network, bound as in a search of S0."""
    config = {**compose("search", ["space=s0", "proxy=all"], None), "device": "cpu"}
    for name, proxy in Setup.from_config(config).proxies.items():
        yield [name, " ".join(word for flag, word in NEEDS.items() if getattr(proxy, flag))]


def _store(
    name: str | Path, columns: Sequence[str], rows: Iterator[list[Any]] | list[list[Any]]
) -> None:
    with (STORE / name).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([columns, *rows])


def main() -> None:
    """Run, then store."""
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    work = Path(sys.argv[1]).resolve()
    for space in sys.argv[2:] or SPACES:
        rankings(space, work).to_csv(STORE / f"{space}.csv", index=False, lineterminator="\n")
    tables = {
        space: pd.read_csv(STORE / f"{space}.csv", dtype=str, keep_default_na=False)
        for space in SPACES
    }
    rows = [r for space in SPACES if space in SUPPORTED for r in supported(tables[space])]
    rows += [row for space in UNRANKED for row in support(space, work)]
    _store("support.csv", ["proxy", "space", "scored", "tried", "seconds", "reason"], rows)
    _store("needs.csv", ["proxy", "needs"], needs())
    columns = ["space", "proxy", "dataset", "target", "n", "seeds"]
    columns += ["spearman", "low", "high", "params", "lead", "lead_low", "lead_high"]
    known = {tuple(row[:4]): row for table in tables.values() for row in validated(table)}
    rows = list(known.values())  # of two rankings of a space the one of more cells, the later
    _store(ASSETS / "validated.csv", columns, rows)
    sums = {line.split()[1]: line for line in (ASSETS / "SHA256SUMS").read_text().splitlines()}
    digest = hashlib.sha256((ASSETS / "validated.csv").read_bytes()).hexdigest()
    sums["validated.csv"] = f"{digest}  validated.csv"
    (ASSETS / "SHA256SUMS").write_text("\n".join(sums.values()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
