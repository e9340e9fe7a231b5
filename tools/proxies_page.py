"""Writes docs/proxies.md: what every proxy of the package needs, where it works, how well it ranks.

python tools/proxies_page.py WORK

runs what the page says in WORK (about 40 minutes on two cores; a second start goes on where the
first one ended) and writes the page. NAS-Bench-201 is read from the source at hand.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import numpy as np

from diswot.accuracies import benchmark_of
from diswot.commands import compose
from diswot.config import conf_dir
from diswot.proxies.combine import COMBINATIONS, combine
from diswot.rank import main as rank
from diswot.ranking.scores import Scores, Target
from diswot.ranking.statistics import compute
from diswot.runs import Journal, ScoreRecord
from diswot.scoring.pool import scoring_pool
from diswot.scoring.setup import Setup

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
PAGE = Path(__file__).parents[1] / "docs" / "proxies.md"
NEEDS = {
    "needs_teacher": "teacher",
    "needs_labels": "labels",
    "needs_gradients": "gradients",
}
Row = dict[str, str]


def run(work: Path) -> None:
    """Rank on the spaces with known accuracies."""
    for space, settings in RUNS.items():
        if rank([*settings, f"hydra.run.dir={work / space}"]) != 0:
            sys.exit(1)


def rows_of(folder: Path) -> list[Row]:
    """The rows of a rank.csv."""
    with (folder / "rank.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def support(settings: Sequence[str]) -> dict[str, str]:
    """For every proxy: how many of three random networks it scores, and seconds, or why not."""
    setup = Setup.from_config(
        {**compose("search", [*settings, "proxy=all"], None), "device": "cpu"}
    )
    rng = Random(0)
    archs = [setup.space.sample(rng) for _ in range(3)]
    with scoring_pool(setup.scorer, 2) as measure:
        found = list(measure(archs))
    table = {}
    for name in setup.proxies:
        reasons = [each.failures[name] for each in found if name in each.failures]
        seconds = [each.seconds_each[name] for each in found if name in each.seconds_each]
        table[name] = f"{len(archs) - len(reasons)}/{len(archs)}"
        if seconds:
            table[name] += f", {np.mean(seconds):.2f} s"
        if reasons:
            table[name] += f" ({reasons[0].removeprefix('ValueError: ').split(':')[0]})"
    return table


def supported(work: Path, space: str) -> dict[str, str]:
    """The same, from WORK where it was measured before."""
    file = work / f"{space}.json"
    if not file.exists():
        file.write_text(json.dumps(support(UNRANKED[space])), encoding="utf-8")
    found: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
    return found


def meaning(name: str) -> str:
    """The line its YAML says it with."""
    text = (conf_dir() / "proxy" / f"{name}.yaml").read_text(encoding="utf-8")
    return text.split("\n")[1][2:].replace("|", "\\|")


def support_table(names: Sequence[str], work: Path) -> Iterator[str]:
    """Needs, what it works on, and seconds an architecture."""
    ranked = {space: {r["proxy"]: r for r in rows_of(work / space)} for space in RUNS}
    tried = {space: supported(work, space) for space in UNRANKED}
    flags = Setup.from_config(
        {**compose("search", ["space=s0", "proxy=all"], None), "device": "cpu"}
    ).proxies
    yield "| proxy | what it is | needs | s0 | nasbench201 | s1 | s2 |"
    yield "|---|---|---|---|---|---|---|"
    for name in names:
        needs = ", ".join(w for flag, w in NEEDS.items() if getattr(flags[name], flag)) or "–"
        cells = []
        for space in ("s0", "nasbench201"):
            row = ranked[space][name]
            total = int(row["n"]) * int(row["seeds"])
            seconds = float(row["seconds_per_arch"])
            cells.append(f"{total - int(row['failed'])}/{total}, {seconds:.2f} s")
        cells += [found[name] for found in tried.values()]
        yield f"| `{name}` | {meaning(name)} | {needs} | {' | '.join(cells)} |"


def _number(row: Row, key: str) -> str:
    return f"{float(row[key]):.3f}" if row[key] else "–"


def _interval(row: Row, key: str) -> str:
    low, high = row[f"{key}_lo"], row[f"{key}_hi"]
    return f"{float(low):.2f} – {float(high):.2f}" if low else "–"


def ranking_table(rows: Sequence[Row], dataset: str, target: str) -> Iterator[str]:
    """Every proxy on one target, the best first, its control beside it."""
    own = [row for row in rows if (row["dataset"], row["target"]) == (dataset, target)]
    controls = {r["proxy"].removesuffix("@shuffled"): r for r in own if "@" in r["proxy"]}
    columns = ["proxy", "ρ", "95 % interval", "± seeds", "ρ − ρ(params)", "interval"]
    columns += ["ρ, params fixed", "control ρ", "ρ − ρ(control)", "failed"]
    yield f"| {' | '.join(columns)} |"
    yield "|---" * len(columns) + "|"
    for row in own:
        if "@" in row["proxy"]:
            continue
        mark = " ▲" if row["better_than_params"] == "True" else ""
        mark += " ○" if row["baseline"] == "True" else ""
        control = controls.get(row["proxy"])
        cells = [
            *(_number(row, "spearman"), _interval(row, "spearman"), _number(row, "spearman_std")),
            *(_number(row, "minus_params"), _interval(row, "minus_params")),
            *(
                _number(row, "partial_spearman_params"),
                _number(control, "spearman") if control else "",
            ),
            f"{_number(row, 'minus_control')} ({_interval(row, 'minus_control')})"
            if control
            else "",
            row["failed"],
        ]
        yield f"| `{row['proxy']}`{mark} | {' | '.join(cells)} |"


def combination_table(work: Path) -> Iterator[str]:
    """Sum, z-score sum and rank sum of DisWOT's parts on every target, from the scored parts."""
    yield "| space | target | semantic | relation | sum | z-score sum | rank sum | params |"
    yield "|---|---|---|---|---|---|---|---|"
    for space, settings in RUNS.items():
        config = compose("rank", settings, None)
        benchmark = benchmark_of(config)
        archs = benchmark.select(config["seed"])
        records = [r for r, _ in Journal(work / space / ScoreRecord.file, ScoreRecord).read()]
        scores = _combined(records, archs)
        for dataset, target in benchmark.entries():
            accuracy = np.array([benchmark.accuracy(arch, dataset, target) for arch in archs])
            found = compute(scores, [Target(dataset, target, accuracy)])
            cells = [
                f"{found[k][0].spearman.value:.3f} ({found[k][0].spearman.low:.2f} – "
                f"{found[k][0].spearman.high:.2f})"
                for k in ("semantic", "relation", *COMBINATIONS, "params")
            ]
            yield f"| {space} | {dataset} {target} | {' | '.join(cells)} |"


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


def page(work: Path) -> Iterator[str]:
    """The page, line by line."""
    rows = {space: rows_of(work / space) for space in RUNS}
    names = sorted({row["proxy"] for row in rows["s0"] if "@" not in row["proxy"]})
    first = rows["s0"][0]
    yield HEAD.format(count=len(names), data=first["data"], classes=first["num_classes"])
    yield from support_table(names, work)
    for space, title in (("s0", S0), ("nasbench201", NB201)):
        yield title.format(commands="diswot rank " + " ".join(RUNS[space]))
        entries = dict.fromkeys((row["dataset"], row["target"]) for row in rows[space])
        for dataset, target in entries:
            yield f"\n### {dataset}, {target}\n"
            yield from ranking_table(rows[space], dataset, target)
    yield COMBINED
    yield from combination_table(work)


HEAD = """# Proxies

Written by `python tools/proxies_page.py WORK`, which runs everything the page shows. {count}
proxies, each one YAML in `conf/proxy` and a docstring with formula, paper and traps. Higher is
better for all.

## What works where

ScoreRecord out of tried, and seconds an architecture on one core of the shared machine of
[measurements.md](measurements.md): the proxy's own work and the passes it shares with others
(network, forward, backward), each counted in full. s0 and nasbench201: the runs below, 64 images
of {data}, {classes} classes, teacher ResNet-56. s1 and s2: three random networks, teachers
ResNet-110 and (s2, 32 images of 64×64) ResNet-34. A reason is the first failure's. Losses that
need equal widths or equally many stages work where the space gives them.
"""

S0 = """
## How well they rank S0

`{commands}`: all 64 networks against published CIFAR-100 accuracies, mean over three seeds, 95 %
intervals from 1,000 bootstrap resamples of the networks. ○: a baseline. ▲: the interval of the
difference to the number of parameters lies above 0. Intervals hold for these seeds (± seeds says
how much ρ differs between them) and are not corrected for looking at many proxies. *Control*: the
same proxy shown the teacher's outputs for other samples, with the paired difference and its
interval; where that holds 0, nothing shows that the proxy uses what the teacher makes of each
sample. (The cam form of `semantic` adds over samples first, so there the control is the proxy
itself.) `sp` is `relation`: one formula. The accuracies are of 100 classes, the runs of the data's
10; with `num_classes=100` DisWOT has 0.852, see [measurements.md](measurements.md)."""

NB201 = """
## How well they rank NAS-Bench-201

`{commands}`: 300 random cells, one seed, one scoring pass for all data sets, test accuracy after
200 epochs. A cell that cannot be scored is ranked below all others."""

COMBINED = """
## Sum, z-scores or ranks?

The parts of `diswot` on their own, and added as published (`combine=sum`), after standardising
(`zscore`) and as ranks (`rank`): Spearman's ρ with its interval, from the same runs.
"""


def main() -> None:
    """Run, then write the page."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    work = Path(sys.argv[1]).resolve()
    run(work)
    PAGE.write_text("\n".join(page(work)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
