"""What a search shows before and after, and the files it leaves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diswot.accuracies import standings
from diswot.errors import UserError
from diswot.reporting.console import print_lines, print_pairs, show_standings, show_top
from diswot.reporting.exports import candidates_csv, plot_search, top
from diswot.reporting.plan import conditions, shown
from diswot.scoring.similarity import save_similarity
from diswot.versions import versions

if TYPE_CHECKING:
    from diswot.accuracies import Benchmark
    from diswot.engine import Search
    from diswot.runs.journal import Record
    from diswot.runs.run_dir import RunDir
    from diswot.scoring.setup import Setup
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
    common = conditions(config, setup.data, setup.num_classes, workers, path)
    plan = {
        "space": f"{setup.space.name}, {setup.space.size} architectures",
        "teacher": common.pop("teacher"),
        "proxy": f"{name}{f' ({settings})' if settings else ''}{others}",
        "strategy": f"{strategy.name}, {evaluations} evaluations",
        "budget": str(strategy.proposals.budget),
        **common,
    }
    print_pairs(plan)


def export(
    config: Mapping[str, Any],
    setup: Setup,
    strategy: Strategy,
    search: Search,
    run_dir: RunDir[Record],
    *,
    benchmark: Benchmark | None,
) -> dict[str, Any]:
    """Write candidates.csv, search.png, similarity.npz, result.json; gives what the last holds."""
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
        "in_channels": setup.data.in_channels,
        "device": config["device"],
        "versions": versions(),
        "benchmark": _standings(benchmark, best[0]["arch"], strategy, setup),
        "top": best,
    }
    title = f"{setup.space.name}, teacher {setup.teacher}: {name} by {strategy.name}"
    candidates_csv(run_dir.path / "candidates.csv", search.history)
    plot_search(
        run_dir.path / "search.png", search.history, title, strategy.proposals.budget.limits()
    )
    save_similarity(run_dir.path / "similarity.npz", config, setup, best[0]["arch"])
    run_dir.save_result(result)
    return result


def _standings(
    benchmark: Benchmark | None, arch: str, strategy: Strategy, setup: Setup
) -> dict[str, Any] | None:
    if benchmark is None:
        return None
    if arch not in benchmark.archs():  # a space whose settings were changed
        return None
    budget, costs = strategy.proposals.budget, setup.scorer.costs()

    def keeps(other: str) -> bool:
        try:
            parsed = setup.space.parse(other)
        except UserError:  # the run's space was made smaller
            return False
        return budget.excess(parsed, costs) <= 0

    found = standings(benchmark, arch, keeps)
    return {"source": benchmark.source, "standings": [asdict(each) for each in found]}


def show_result(result: Mapping[str, Any], path: Path) -> None:
    """The five best candidates and the paths of the files."""
    show_top(result)
    if known := result.get("benchmark"):
        show_standings(known, result["seconds"])
    lines = [
        f"{result['evaluated']:,} candidates in {result['seconds']:.1f} s "
        f"({result['candidates_per_second']:.2f}/s), {result['rejected']:,} over budget",
        *(f"  {shown(path / name)}" for name in ("result.json", "candidates.csv", "search.png")),
    ]
    print_lines(lines)
