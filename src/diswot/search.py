"""Search for the student a teacher distils best: ``python -m diswot.search``."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from diswot.commands import Command, Launch, Session, quote, run_app, settled
from diswot.runs import CandidateRecord, SearchSummary, read_summary

_COMMAND = Command("search", "search", CandidateRecord, SearchSummary, axis="evaluated")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command on ``argv``, else on the command line's words; gives its exit code."""
    return run_app("search", job, argv, swept=_show_sweep)


def job(launch: Launch) -> float:
    """One search; gives the best score, for Hydra's optimising sweepers."""
    from diswot.console import print_lines

    summary = run_search(launch.config, launch.path, group=launch.sweep)
    if launch.sweep is None:
        print_lines(map(": ".join, _next_commands(launch, summary).items()))
    return float(summary.score)


def run_search(
    config: dict[str, Any], path: Path, *, quiet: bool = False, group: str | None = None
) -> SearchSummary:
    """Search, or go on with a search, in a run directory.

    The config is that of ``conf/search.yaml``, resolved; loggers put runs of one ``group``
    together.

    Returns:
        Its ``result.json``.

    Raises:
        UserError: Wrong input.
        KeyboardInterrupt: Stopped; the message says how to go on.
        OSError: The run directory cannot be written.
    """
    from diswot.fingerprints import identified
    from diswot.reporting.search import show_result

    config = settled(config, "space", "teacher", "strategy", "budget", "latency", "data", "init")
    wanted = config["strategy"]["evaluations"]

    def finished(summary: SearchSummary) -> bool:
        return summary.exhausted or (wanted is not None and summary.evaluated >= wanted)

    session = Session(_COMMAND, identified(config), path, quiet=quiet, group=group)
    return session.result(_search, show_result, finished=finished)


def _search(session: Session[CandidateRecord, SearchSummary]) -> SearchSummary:
    from diswot.accuracies import Benchmark, NoAccuraciesError, benchmark_of
    from diswot.checks import whole
    from diswot.console import SearchProgress, print_lines
    from diswot.loggers.followers import SearchLog
    from diswot.reporting import teacher_lines
    from diswot.reporting.search import export, show_plan
    from diswot.scoring.latency import make_latencies
    from diswot.scoring.pool import scoring_pool
    from diswot.scoring.setup import Setup, worker_count
    from diswot.searching.engine import Search
    from diswot.searching.screening import screen_of, screening
    from diswot.strategies import make_strategy
    from diswot.teaching import check_known, doubt, measured

    config, run_dir = session.config, session.run_dir
    images = whole("teacher_images", config["teacher_images"], 0)
    workers = worker_count(config)
    benchmark: Benchmark | None = None
    if config.get("benchmark"):
        with suppress(NoAccuraciesError):
            benchmark = benchmark_of(config)
    setup = Setup.from_config(config)
    screened = screen_of(config, setup)
    latencies = make_latencies(config, setup, run_dir.path)
    strategy = make_strategy(config, setup, latencies)
    session.show(show_plan, config, setup, strategy, run_dir.path, workers)
    session.loggers.start()
    # Latencies are measured while no other process works.
    with (
        scoring_pool(setup.scorer, workers, ahead=latencies is None) as measure,
        screening(*screened, setup, workers) as screen,
    ):
        accuracy, problem = measured(config["teacher"], setup.data, config["device"], images)
        session.show(print_lines, teacher_lines(setup.teacher, accuracy, problem))
        check_known(doubt(config["teacher"]["name"], accuracy), strict=config["strict"])
        search = Search(run_dir, strategy, setup.fitness, setup.others, screen)
        total = strategy.evaluations or setup.space.size.count
        log = SearchLog(session.loggers, search, strategy, setup.fitness[0])
        shown = (total, search.journaled, "candidates.csv")
        with SearchProgress(*shown, quiet=session.quiet) as progress:
            search.run(measure, progress, log)
    summary = export(
        config, setup, strategy, search, run_dir, benchmark=benchmark, accuracy=accuracy
    )
    log.finish(asdict(summary), run_dir.path)
    return summary


def _show_sweep(results: Mapping[str, Path]) -> None:
    from diswot.reporting.search import show_sweep

    show_sweep({name: read_summary(file, SearchSummary) for name, file in results.items()})


def _next_commands(launch: Launch, summary: SearchSummary) -> dict[str, str]:
    """A race of what was found, and its training: taught where the teacher has trained weights."""
    from diswot.console import shown
    from diswot.teaching import teaching_weights

    given, chosen = launch.given, launch.choices
    run, shared = quote(shown(launch.path)), []
    if given("space.") or chosen["space"] != summary.space:
        shared += [f"space={chosen['space']}", *given("space.")]
    if chosen["data"] != "fashion_mini":  # the default of all three
        shared.append(f"data={chosen['data']}")
    batch = given("data.batch_size")
    shared += [word for word in given("data.") if word not in batch]
    weights = teaching_weights(launch.config["teacher"], summary.data)
    if weights == summary.teacher_weights and launch.config["num_classes"] is not None:
        weights = "none"  # a training has as many classes as the data
    if weights == "none":
        teacher, alone = ["teacher=none"], ["distiller=none"]
    else:
        teacher, alone = [f"teacher={chosen['teacher']}", f"teacher.weights={quote(weights)}"], []
        teacher += [word for word in given("teacher.") if word not in given("teacher.weights")]
    trained = ["student=searched", f"student.run={run}", *shared, *batch, *teacher, *alone]
    return {
        "Next": launch.next_command("race", [f"run={run}", *shared, *teacher]),
        "Or": launch.next_command("train", trained),
    }


if __name__ == "__main__":
    sys.exit(main())
