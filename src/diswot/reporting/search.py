"""A search on the terminal, and the files it leaves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from diswot.accuracies import standings
from diswot.accuracies.validated import validations
from diswot.console import print_lines, print_pairs, print_table, show_standings, show_top, shown
from diswot.errors import UserError
from diswot.reporting import conditions, drawing, largest_lines, place_lines, validation_lines
from diswot.reporting.plots import plot_course, plot_params
from diswot.runs import KnownAccuracies, SearchSummary, TeacherAccuracy, TopCandidate, write_table
from diswot.searching.firmness import places_under_other_seeds
from diswot.searching.similarity import save_similarity
from diswot.versions import versions

if TYPE_CHECKING:
    from diswot.accuracies import Benchmark
    from diswot.runs import CandidateRecord, RunDir
    from diswot.scoring.setup import Setup
    from diswot.searching.engine import History, Search
    from diswot.strategies import Strategy


_COLUMNS = ("params", "flops", "layers", "status", "reason", "generation", "cached", "seconds")
"""Fields of a candidate's record that are columns of candidates.csv as they are."""

_FIRM = 5  # of the best, which are scored again under other seeds


def show_plan(
    config: Mapping[str, Any], setup: Setup, strategy: Strategy, path: Path, workers: int
) -> None:
    """What a search is about to do, one line an item."""
    name, proxy = setup.fitness
    texts = {
        key: " + ".join(value) if isinstance(value, list) else value
        for key, value in proxy.settings().items()
    }
    settings = ", ".join(f"{key} {value}" for key, value in texts.items())
    others = f"; also {', '.join(other for other, _ in setup.others)}" if setup.others else ""
    evaluations = f"{strategy.evaluations:,}" if strategy.evaluations else setup.space.size
    first = config["strategy"].get("population", 0)
    if first >= (strategy.evaluations or math.inf):
        evaluations = f"{evaluations} (no more than the random first population of {first:,})"
    further: Any = {"cost": setup.teacher_cost, "workers": workers, "path": path}
    common = conditions(config, setup.data, setup.num_classes, **further)
    print_pairs(
        {
            "space": f"{setup.space.name}, {setup.space.size} architectures",
            "teacher": common.pop("teacher"),
            "proxy": f"{name}{f' ({settings})' if settings else ''}{others}",
            "strategy": f"{strategy.name}, {evaluations} evaluations",
            "budget": str(strategy.proposals.budget),
            **common,
        }
    )


def export(
    config: Mapping[str, Any],
    setup: Setup,
    strategy: Strategy,
    search: Search,
    run_dir: RunDir[CandidateRecord],
    *,
    benchmark: Benchmark | None,
    accuracy: TeacherAccuracy | None,
) -> SearchSummary:
    """Write candidates.csv, search.png, similarity.npz and result.json; gives what the last holds.

    The search is finished; ``benchmark`` are known accuracies of the space, if there are any,
    ``accuracy`` is the teacher's.
    """
    history, seconds, others = search.history, search.seconds, search.history.others()
    ranked = [
        TopCandidate(
            arch=record.arch,
            score=score,
            parts=record.parts,
            others={name: scores.get(record.arch) for name, scores in others.items()},
            params=record.params or 0,  # known of every candidate that was scored
            flops=record.flops or 0,
            layers=record.layers,
        )
        for record, score in history.ranking()
    ]
    top, largest = ranked[:10], max(ranked, key=lambda candidate: candidate.params)
    best, (name, proxy), cost = top[0], setup.fitness, setup.teacher_cost
    scored = sum(not record.cached for record in history.records)
    summary = SearchSummary(
        space=setup.space.name,
        arch=best.arch,
        score=best.score,
        params=best.params,
        flops=best.flops,
        evaluated=search.evaluated,
        distinct=len({record.arch for record in history.records}),
        failed=sum(record.status == "failed" for record in history.records),
        rejected=strategy.proposals.rejected,
        exhausted=search.exhausted,
        seconds=round(seconds, 3),
        candidates_per_second=round(scored / seconds, 3),
        teacher=setup.teacher,
        teacher_weights=config["teacher"]["weights"],
        teacher_params=cost.params if cost else None,
        teacher_flops=cost.flops if cost else None,
        teacher_accuracy=accuracy,
        budget=strategy.proposals.budget.limits(),
        proxy=name,
        proxy_settings=proxy.settings(),
        strategy=strategy.name,
        seed=config["seed"],
        data=setup.data.name,
        num_classes=setup.num_classes,
        in_channels=setup.data.in_channels,
        image_size=setup.data.image_size,
        device=config["device"],
        versions=versions(),
        benchmark=_known_accuracies(benchmark, best.arch, strategy, setup),
        top=top,
        largest=largest,
        largest_place=ranked.index(largest) + 1,
        places=places_under_other_seeds(config, setup, [each.arch for each in top[:_FIRM]]),
        validated=validations(setup.space.name, name, config["proxy"][name]),
    )
    own = "" if accuracy is None else f" ({accuracy.top1:.1f} %)"
    title = f"{setup.space.name}, teacher {setup.teacher}{own}: {name} by {strategy.name}"
    _write_candidates(run_dir.path / "candidates.csv", history)
    sizes = {"budget": summary.budget.get("params"), "teacher": summary.teacher_params}
    plot_search(run_dir.path / "search.png", history, title, sizes)
    save_similarity(run_dir.path / "similarity.npz", setup, best.arch)
    run_dir.save_result(summary)
    return summary


def _known_accuracies(
    benchmark: Benchmark | None, arch: str, strategy: Strategy, setup: Setup
) -> KnownAccuracies | None:
    if benchmark is None or arch not in benchmark.archs():  # settings of the space were changed
        return None
    budget, costs = strategy.proposals.budget, setup.scorer.costs()

    def keeps(other: str) -> bool:
        try:
            return budget.excess(setup.space.parse(other), costs) <= 0
        except UserError:  # the run's space was made smaller
            return False

    return KnownAccuracies(benchmark.source, standings(benchmark, arch, keeps))


def _write_candidates(path: Path, history: History) -> None:
    """All candidates in ask order; ``first_score`` is what a relative one was at first."""
    scores, others = history.scores(), history.others()
    parts = list(next((r.parts for r in history.records if r.parts), {}))
    columns = [*(f"part_{name}" for name in parts), *(f"score_{name}" for name in others)]
    rows = (
        [
            *(record.arch, scores.get(record.arch), record.score),
            *(record.parts.get(part) for part in parts),
            *(values.get(record.arch) for values in others.values()),
            *(getattr(record, column) for column in _COLUMNS),
        ]
        for record in history.records
    )
    write_table(path, ["arch", "score", "first_score", *columns, *_COLUMNS], rows)


def plot_search(
    path: Path, history: History, title: str, sizes: Mapping[str, float | None]
) -> None:
    """Best and mean score over the candidates; score against parameters, with lines at sizes."""
    scores = history.scores()
    records = [replace(record, score=scores.get(record.arch)) for record in history.records]
    with drawing(path, title, 11, 4.2) as figure:
        left, right = figure.subplots(1, 2)
        plot_course(left, {"": records})
        plot_params(right, {"": records}, sizes)


def show_result(summary: SearchSummary, path: Path) -> None:
    """The five best candidates and the paths of the files."""
    show_top(summary)
    if summary.benchmark:
        show_standings(summary.benchmark, summary.seconds, summary.data)
    speed = f"{summary.seconds:.1f} s ({summary.candidates_per_second:.2f}/s)"
    files = [f"  {shown(path / n)}" for n in ("result.json", "candidates.csv", "search.png")]
    counts = f"{summary.evaluated:,} candidates in {speed}, {summary.rejected:,} over budget"
    known = [*place_lines(summary), *largest_lines(summary), *validation_lines(summary)]
    print_lines([*known, counts, *files])


def show_sweep(runs: Mapping[str, SearchSummary]) -> None:
    """What each run of a sweep has found."""
    table = Table("run", "arch", title=f"Best of {len(runs)} runs", title_justify="left")
    for column in ("score", "params", "MACs"):
        table.add_column(column, justify="right")
    for name, each in runs.items():
        table.add_row(name, each.arch, f"{each.score:.5g}", f"{each.params:,}", f"{each.flops:,}")
    print_table(table)
