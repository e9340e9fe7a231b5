"""A search on the terminal, and the files it leaves."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from diswot.accuracies import standings
from diswot.accuracies.validated import validations
from diswot.console import (
    number,
    print_lines,
    print_pairs,
    print_table,
    show_front,
    show_standings,
    show_top,
    shown,
)
from diswot.errors import UserError
from diswot.reporting import (
    conditions,
    drawing,
    largest_lines,
    latency_lines,
    place_lines,
    size_lines,
    validation_lines,
)
from diswot.reporting.plots import plot_course, plot_size
from diswot.runs import KnownAccuracies, SearchSummary, TeacherAccuracy, TopCandidate, write_table
from diswot.searching import fronts
from diswot.searching.firmness import places_by_seed
from diswot.searching.similarity import save_similarity
from diswot.versions import versions

if TYPE_CHECKING:
    from diswot.accuracies import Benchmark
    from diswot.runs import CandidateRecord, RunDir
    from diswot.scoring.setup import Setup
    from diswot.searching.engine import Search
    from diswot.searching.history import History
    from diswot.strategies import Strategy


_COLUMNS = ("params", "flops", "layers", "status", "reason", "generation", "cached", "seconds")
"""Fields of a candidate's record that are columns of candidates.csv as they are."""

_LATENCY = ("latency_ms", "latency_spread_ms")  # further ones, where they are known

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
    costs = strategy.proposals.costs
    latency = {} if costs.latencies is None else {"latency": costs.latencies.source()}
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
            **latency,
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
            latency_ms=record.latency_ms,
        )
        for record, score in history.ranking()
    ]
    top, largest = ranked[:10], max(ranked, key=lambda candidate: candidate.params)
    best, (name, proxy), cost = top[0], setup.fitness, setup.teacher_cost
    fresh = [record.status for record in history.records if not record.cached]
    screened = fresh.count("screened")
    latencies = strategy.proposals.costs.latencies
    objectives = strategy.objectives or [*fronts.DEFAULT, *["latency_ms"] * bool(latencies)]
    front = _front(ranked, objectives)
    summary = SearchSummary(
        space=setup.space.name,
        arch=best.arch,
        score=best.score,
        params=best.params,
        flops=best.flops,
        latency_ms=best.latency_ms,
        latency=latencies.summary() if latencies else None,
        evaluated=search.evaluated,
        distinct=len({record.arch for record in history.records}),
        failed=sum(record.status == "failed" for record in history.records),
        screened=screened,
        rejected=strategy.proposals.rejected,
        exhausted=search.exhausted,
        seconds=round(seconds, 3),
        candidates_per_second=round((len(fresh) - screened) / seconds, 3),
        teacher=setup.teacher,
        teacher_weights=config["teacher"]["weights"],
        teacher_input=config["teacher"].get("input"),
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
        places=places_by_seed(config, setup, top[:_FIRM]),
        validated=validations(setup.space.name, name, config["proxy"][name]),
        objectives=list(objectives),
        front=front,
    )
    own = "" if accuracy is None else f" ({accuracy.top1:.1f} %)"
    title = f"{setup.space.name}, teacher {setup.teacher}{own}: {name} by {strategy.name}"
    _write_candidates(run_dir.path / "candidates.csv", history, {each.arch for each in front})
    plot_search(run_dir.path / "search.png", history, title, size_lines(summary))
    save_similarity(run_dir.path / "similarity.npz", setup, best.arch)
    run_dir.save_result(summary)
    return summary


def _front(ranked: Sequence[TopCandidate], objectives: Sequence[str]) -> list[TopCandidate]:
    """The candidates that none other dominates, by the first objective but the fitness.

    One without a latency, which the device does not run, is left out.
    """
    costs = [name for name in objectives if name != "fitness"]
    known = [each for each in ranked if None not in (getattr(each, name) for name in costs)]
    points = [[*(getattr(each, name) for name in costs), -each.score] for each in known]
    return [known[place] for place in fronts.non_dominated(points)]


def _known_accuracies(
    benchmark: Benchmark | None, arch: str, strategy: Strategy, setup: Setup
) -> KnownAccuracies | None:
    if benchmark is None or arch not in benchmark.archs():  # settings of the space were changed
        return None
    budget, costs = strategy.proposals.budget, strategy.proposals.costs
    timed = "latency_ms" in budget.limits() and not (costs.latencies and costs.latencies.known_all)

    def keeps(other: str) -> bool:
        if timed:  # not measured of the whole space
            return False
        try:
            return budget.excess(setup.space.parse(other), costs) <= 0
        except UserError:  # the run's space was made smaller
            return False

    return KnownAccuracies(benchmark.source, standings(benchmark, arch, keeps))


def _write_candidates(path: Path, history: History, front: Collection[str]) -> None:
    """All candidates in ask order; ``first_score`` is what a relative one was at first."""
    known = any(record.latency_ms is not None for record in history.records)
    fields = [*_COLUMNS[:3], *_LATENCY * known, *_COLUMNS[3:]]
    scores, others = history.scores(), history.others()
    parts = list(next((r.parts for r in history.records if r.parts), {}))
    columns = [*(f"part_{name}" for name in parts), *(f"score_{name}" for name in others)]
    rows = (
        [
            *(record.arch, scores.get(record.arch), record.score),
            *(record.parts.get(part) for part in parts),
            *(values.get(record.arch) for values in others.values()),
            *(getattr(record, column) for column in fields),
            record.arch in front,
        ]
        for record in history.records
    )
    write_table(path, ["arch", "score", "first_score", *columns, *fields, "front"], rows)


def plot_search(
    path: Path, history: History, title: str, sizes: Mapping[str, Mapping[str, float | None]]
) -> None:
    """Best and mean score over the candidates; score against each of the sizes, with lines."""
    scores = history.scores()
    records = [replace(record, score=scores.get(record.arch)) for record in history.records]
    with drawing(path, title, 5.5 * (1 + len(sizes)), 4.2) as figure:
        left, *others = figure.subplots(1, 1 + len(sizes))
        plot_course(left, {"": records})
        for axes, (size, lines) in zip(others, sizes.items(), strict=True):
            plot_size(axes, {"": records}, lines, size)


def show_result(summary: SearchSummary, path: Path) -> None:
    """The five best candidates, the Pareto front and the paths of the files."""
    show_top(summary)
    show_front(summary)
    if summary.benchmark:
        show_standings(summary.benchmark, summary.seconds, summary.data)
    speed = f"{summary.seconds:.1f} s ({summary.candidates_per_second:.2f}/s)"
    files = [f"  {shown(path / n)}" for n in ("result.json", "candidates.csv", "search.png")]
    counts = f"{summary.evaluated:,} candidates in {speed}, {summary.rejected:,} over budget"
    counts += f", {summary.screened:,} screened out" if summary.screened else ""
    known = [*place_lines(summary), *largest_lines(summary), *validation_lines(summary)]
    known += latency_lines(summary)
    print_lines([*known, counts, *files])


def show_sweep(runs: Mapping[str, SearchSummary]) -> None:
    """What each run of a sweep has found."""
    table = Table("run", "arch", title=f"Best of {len(runs)} runs", title_justify="left")
    timed = any(each.latency_ms is not None for each in runs.values())
    for column in ("score", "params", "MACs", *["ms"] * timed):
        table.add_column(column, justify="right")
    for name, each in runs.items():
        latency = [number(each.latency_ms)] * timed
        size = f"{each.params:,}", f"{each.flops:,}", *latency
        table.add_row(name, each.arch, f"{each.score:.5g}", *size)
    print_table(table)
