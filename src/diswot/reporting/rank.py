"""A ranking on the terminal, and the files it leaves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, fields
from pathlib import Path
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table
from rich.text import Text

from diswot.console import print_lines, print_pairs, print_table, shown
from diswot.ranking.scores import Scores, Target, conditions_of
from diswot.ranking.statistics import rank_rows
from diswot.reporting import conditions
from diswot.reporting.rank_plot import plot_rank
from diswot.runs import RankRow, RankSummary, TeacherAccuracy, write_json, write_table
from diswot.teaching import teacher_cost
from diswot.versions import versions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from diswot.accuracies import Benchmark
    from diswot.data.base import ImageData


_SPEARMAN = "Spearman ρ, 95 % interval"
_COLUMNS = (_SPEARMAN, "Kendall", "Pearson", "|params", "P@10", "nDCG", "regret", "s/arch")
_NARROW = tuple(name for name in _COLUMNS if name != "nDCG")
_LEGEND = (
    "○ looks at size alone or at nothing",
    "@shuffled: the same with a teacher whose samples are exchanged",
    "▲ better than params: the 95 % interval of the difference in ρ is above 0",
    "intervals: over architectures, for these seeds, not corrected for many proxies",
    "± standard deviation over seeds; |params: Spearman with params held fixed",
    "P@10: percent of the best tenth by score that are the best tenth by accuracy",
    "nDCG: discounted gain of the best tenth by score; 1 where its order is perfect",
    "regret: best accuracy less that of the best scored architecture, percent points",
)


def show_rank_plan(
    config: Mapping[str, Any],
    benchmark: Benchmark,
    count: int,
    *,
    data: ImageData,
    workers: int,
    path: Path,
) -> None:
    """What a ranking is about to do, one line an item."""
    names = list(config["proxy"])
    part = f", shard {config['shard']}" if config["shard"] else ""
    control = " and a shuffled control of each that compares with the teacher"
    classes = config["num_classes"]
    cost = teacher_cost(config["teacher"], classes, data.image_shape)
    targets = ", ".join(f"{dataset} {target}" for dataset, target in benchmark.entries())
    print_pairs(
        {
            "space": f"{benchmark.space}, {count:,} architectures{part}",
            "accuracy": f"{targets} ({benchmark.source})",
            "proxies": f"{', '.join(names)}{control if config['control'] == 'shuffled' else ''}",
            **conditions(config, data, classes, cost=cost, workers=workers, path=path),
        }
    )


def export(
    config: Mapping[str, Any],
    benchmark: Benchmark,
    data: ImageData,
    scores: Scores,
    targets: Sequence[Target],
    *,
    path: Path,
    quiet: bool,
    accuracy: TeacherAccuracy | None = None,
) -> list[RankRow]:
    """Write rank.csv, scores.csv, rank.png and result.json, and show the table; gives its rows.

    ``targets`` are accuracies of the architectures that were scored, ``accuracy`` is the teacher's.
    """
    shared = conditions_of(config, data, benchmark.source)
    seeds = f"{len(scores.seeds)} seed{'s' if len(scores.seeds) > 1 else ''}"
    title = (
        f"{shared['space']} ({len(scores.archs):,} architectures, {benchmark.source}); "
        f"teacher {shared['teacher']}, {data.name}, {seeds}"
    )
    drawn = {"resamples": config["resamples"], "seed": config["seed"]}
    rows = rank_rows(scores, targets, shared, **drawn)
    rank_csv(path / "rank.csv", rows)
    scores_csv(path / "scores.csv", scores, targets)
    plot_rank(path / "rank.png", rows, scores, targets, title)
    summary = RankSummary(
        **shared,
        teacher_accuracy=accuracy,
        n=len(scores.archs),
        seeds=list(scores.seeds),
        versions=versions(),
    )
    write_json(path / "result.json", asdict(summary))
    if not quiet:
        show_rank(rows)
        names = ("rank.csv", "rank.png", "scores.csv")
        print_lines([title, *(f"  {shown(path / name)}" for name in names)])
    return rows


def rank_csv(path: Path, rows: Sequence[RankRow]) -> None:
    """One line a row; what is not defined is an empty cell."""
    write_table(path, [field.name for field in fields(RankRow)], map(astuple, rows))


def scores_csv(path: Path, scores: Scores, targets: Sequence[Target]) -> None:
    """One line an arch and seed, seed by seed; an empty cell where a proxy failed."""
    count = len(scores.seeds)

    def column(sizes: NDArray[np.float64]) -> list[float]:
        return [int(size) if size.is_integer() else size for size in sizes.tolist()] * count

    columns: dict[str, Sequence[object]] = {
        "arch": scores.archs * count,
        "seed": [seed for seed in scores.seeds for _ in scores.archs],
        **{"params": column(scores.params), "flops": column(scores.flops)},
        **{f"{t.dataset}_{t.target}": t.accuracy.tolist() * count for t in targets},
    }
    scored = {name: values for name, values in scores.values.items() if name not in columns}
    columns |= {name: values.ravel().tolist() for name, values in scored.items()}
    write_table(path, list(columns), zip(*columns.values(), strict=True))


def show_rank(rows: Sequence[RankRow]) -> None:
    """One table a target, best proxy first, and what its marks mean."""
    for target in dict.fromkeys((row.dataset, row.target) for row in rows):
        print_table(_table([row for row in rows if (row.dataset, row.target) == target]))
        print_lines([""])
    print_lines(_LEGEND)


def _table(rows: Sequence[RankRow]) -> Table:
    first = rows[0]
    seeds = f"{first.seeds} seed{'s' if first.seeds > 1 else ''}"
    table = Table(
        title=f"{first.dataset} {first.target}: {first.n:,} archs of {first.space}, {seeds}",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=0,
    )
    table.add_column("", no_wrap=True, width=3)
    table.add_column("proxy", overflow="fold")
    wide = get_terminal_size((160, 24)).columns >= 96  # no interval need be folded
    columns = _COLUMNS if wide else _NARROW
    columns += ("failed",) if any(row.failed for row in rows) else ()
    for name in columns:
        table.add_column(name, justify="right", no_wrap=wide or name != _SPEARMAN)
    for row in rows:
        better = row.better_than_params and not row.control
        mark = f"{'▲' if better else ' '}{'○' if row.baseline else ' '}"
        values = dict(zip((*_COLUMNS, "failed"), _cells(row), strict=True))
        style = "dim" if row.baseline or row.control else ""
        table.add_row(mark, row.proxy, *(Text(values[name]) for name in columns), style=style)
    return table


def _cells(row: RankRow) -> list[str]:
    limits = f"[{row.spearman_lo:.2f}, {row.spearman_hi:.2f}]"
    spread = "" if math.isnan(row.spearman_std) else f" ±{row.spearman_std:.2f}".replace("0.", ".")
    spearman = "nan" if math.isnan(row.spearman) else f"{row.spearman:.3f} {limits}{spread}"
    correlations = (row.kendall, row.pearson, row.partial_spearman_params)
    values = [
        *(spearman, *(f"{value:.3f}" for value in correlations)),
        *(f"{100 * row.precision_at_10pct:.0f}", f"{row.ndcg_at_10pct:.3f}", f"{row.regret:.2f}"),
        *(f"{row.seconds_per_arch:.{4 if row.seconds_per_arch < 10 else 0}f}", f"{row.failed:,}"),
    ]
    return [value.replace("-", "−").replace("nan", "—") for value in values]
