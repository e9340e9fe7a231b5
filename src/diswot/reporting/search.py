"""What a search shows before and after, and the files it leaves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diswot.reporting.console import print_lines, print_pairs, show_top
from diswot.reporting.exports import candidates_csv, plot_search, top
from diswot.versions import versions

if TYPE_CHECKING:
    from diswot.engine import Search
    from diswot.scoring.setup import Setup
    from diswot.storage.run_dir import RunDir
    from diswot.strategies.base import Strategy

__all__ = ["RESULT_KEYS", "export", "show_plan", "show_result"]

RESULT_KEYS = (
    *("arch", "score", "params", "flops", "top", "proxy", "seed", "seconds"),
    *("evaluated", "distinct", "rejected", "exhausted", "candidates_per_second"),
)
"""What is read of a result when it is shown again."""


def show_plan(
    config: Mapping[str, Any], setup: Setup, strategy: Strategy, path: Path, workers: int
) -> None:
    """What is about to happen, one line an item."""
    name, proxy = setup.fitness
    settings = ", ".join(f"{key} {value}" for key, value in proxy.settings().items())
    others = f"; also {', '.join(other for other, _ in setup.others)}" if setup.others else ""
    evaluations = f"{strategy.evaluations:,}" if strategy.evaluations else setup.space.size
    first = config["strategy"].get("population", 0)
    if first >= (strategy.evaluations or math.inf):
        evaluations = f"{evaluations} (no more than the random first population of {first:,})"
    teacher = (
        f"{setup.teacher} (weights: {config['teacher']['weights']})" if setup.teacher else "none"
    )
    batch = len(setup.scorer.batch.labels)
    processes = f"{workers} worker{'s' if workers > 1 else ''}"
    plan = {
        "space": f"{setup.space.name}, {setup.space.size} architectures",
        "teacher": teacher,
        "proxy": f"{name}{f' ({settings})' if settings else ''}{others}",
        "strategy": f"{strategy.name}, {evaluations} evaluations",
        "budget": str(strategy.proposals.budget),
        "data": f"{setup.data.name}, {batch} images of {setup.data.image_size}×"
        f"{setup.data.image_size}, {setup.num_classes} classes",
        "init": f"{config['init']['_target_'].rpartition('.')[2].lower()}, seed {config['seed']}",
        "device": f"{config['device']}, {config['precision']}, {processes}",
        "run dir": _shown(path),
    }
    print_pairs(plan)


def export(
    config: Mapping[str, Any], setup: Setup, strategy: Strategy, search: Search, run_dir: RunDir
) -> dict[str, Any]:
    """Write result.json, candidates.csv and search.png; gives what result.json holds."""
    best = top(search.history, 10)
    name, proxy = setup.fitness
    seconds = search.seconds
    scored = sum(not record.cached for record in search.history.records)
    result = {
        "schema": 1,
        "space": setup.space.name,
        **{key: best[0][key] for key in ("arch", "score", "params", "flops")},
        "evaluated": search.evaluated,
        "distinct": len({record.arch for record in search.history.records}),
        "failed": sum(record.status == "failed" for record in search.history.records),
        "rejected": strategy.proposals.rejected,
        "exhausted": search.exhausted,
        "seconds": round(seconds, 3),
        "candidates_per_second": round(scored / seconds, 3),
        "teacher": setup.teacher,
        "teacher_weights": config["teacher"]["weights"],
        "proxy": name,
        "proxy_settings": proxy.settings(),
        "strategy": strategy.name,
        "seed": config["seed"],
        "data": setup.data.name,
        "num_classes": setup.num_classes,
        "device": config["device"],
        "versions": versions(),
        "top": best,
    }
    title = f"{setup.space.name}, teacher {setup.teacher}: {name} by {strategy.name}"
    candidates_csv(run_dir.path / "candidates.csv", search.history)
    plot_search(
        run_dir.path / "search.png", search.history, title, strategy.proposals.budget.limits()
    )
    run_dir.save_result(result)
    return result


def show_result(result: Mapping[str, Any], path: Path) -> None:
    """The five best candidates and the paths of the files."""
    show_top(result)
    lines = [
        f"{result['evaluated']:,} candidates in {result['seconds']:.1f} s "
        f"({result['candidates_per_second']:.2f}/s), {result['rejected']:,} over budget",
        *(f"  {_shown(path / name)}" for name in ("result.json", "candidates.csv", "search.png")),
    ]
    print_lines(lines)


def _shown(path: Path) -> str:
    """Relative to the current folder, where it is below it."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
