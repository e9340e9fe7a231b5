"""Search for the student a teacher distils best: ``python -m diswot.search``."""

from __future__ import annotations

import shlex
import shutil
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from diswot.accuracies import Benchmark
    from diswot.loggers import Loggers
    from diswot.runs import CandidateRecord, RunDir, SearchSummary

__all__ = ["main", "run_search"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the Hydra app.

    Args:
        argv: Overrides; by default those of the command line.

    Returns:
        Exit code.
    """
    from diswot.hydra_app import run_app

    return run_app("search", job, sys.argv[1:] if argv is None else argv)


def job(cfg: DictConfig) -> float:
    """One search; gives the best score, for Hydra's optimising sweepers."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from diswot.console import print_lines
    from diswot.hydra_app import to_plain
    from diswot.loggers import sweep_folder

    hydra = HydraConfig.get()
    path = Path(hydra.runtime.output_dir)
    result = run_search(to_plain(cfg), path, group=sweep_folder())
    if hydra.mode is RunMode.RUN:
        print_lines([f"Next: {_next_command(hydra, result, path)}"])
    return float(result.score)


def _next_command(hydra: Any, result: SearchSummary, path: Path) -> str:
    """Trains what was found: with the teacher, where there are trained weights of it."""
    from diswot.console import shown
    from diswot.hydra_app import quote
    from diswot.models.weights import embedded_names

    task = hydra.overrides.task
    words = ["student=searched", f"student.run={quote(shown(path))}"]
    if any(word.startswith("space.") for word in task):
        words.append(f"space={result.space}")
    words += [w for w in task if w.startswith(("space.", "data=", "data."))]
    weights = result.teacher_weights
    if weights == "none" and result.data == "fashion_mini":
        weights = "embedded" if result.teacher in embedded_names() else "none"
    if weights == "none":
        words += ["teacher=none", "distiller=none"]
    else:
        words += [f"teacher={result.teacher}", f"teacher.weights={quote(str(weights))}"]
        words += [w for w in task if w.startswith("teacher.network.")]
    folders = [
        f"--config-dir={source.path}"
        for source in hydra.runtime.config_sources
        if source.provider == "command-line"
    ]
    return shlex.join([*_program("train"), *folders, *words])


def _program(command: str) -> list[str]:
    """As this process was started, for another command: a module, or the console script."""
    started = sys.orig_argv
    if "-m" in started[:-1]:
        module = started[started.index("-m") + 1]
        if module == "diswot":
            return [started[0], "-m", module, command]
        return [started[0], "-m", f"diswot.{command}"]
    script = Path(started[1] if len(started) > 1 else "diswot")
    found = shutil.which(script.name)
    return [script.name if found and Path(found).samefile(script) else str(script), command]


def run_search(
    config: dict[str, Any], path: Path, *, quiet: bool = False, group: str | None = None
) -> SearchSummary:
    """Search, or go on with a search, in a run directory.

    Args:
        config: Resolved config of ``conf/search.yaml``.
        path: The run directory.
        quiet: Show nothing.
        group: Of runs that belong together, for loggers.

    Returns:
        Its ``result.json``.

    Raises:
        UserError: Wrong input.
        KeyboardInterrupt: Stopped; the message says how to go on.
        OSError: The run directory cannot be written.
    """
    from diswot.checks import flag
    from diswot.config import require
    from diswot.console import print_lines
    from diswot.loggers import LoggedRun, Loggers
    from diswot.reporting.search import show_result
    from diswot.runs import CandidateRecord, RunDir, SearchSummary
    from diswot.scoring.runtime import resolve_device

    require(config, "space", "teacher", "strategy", "budget", "data", "init")
    flag("debug", config["debug"])
    config = {**config, "device": resolve_device(config["device"])}
    run_dir = RunDir(path, config, CandidateRecord)
    run_dir.compare_config()
    result = run_dir.load_result(SearchSummary)
    if result is None or not _finished(result, config):
        try:
            run = LoggedRun("search", path, config, "evaluated", group)
            with run_dir, Loggers(run, quiet=quiet) as loggers:
                result = _search(config, run_dir, loggers, quiet)
        except KeyboardInterrupt:
            kept = "what was scored is kept" if run_dir.begun else "nothing was scored yet"
            raise KeyboardInterrupt(
                f"Stopped; {kept} in {path}. The same command goes on from there."
            ) from None
    elif not quiet:
        print_lines([f"This search has finished before, in {path}."])
    if not quiet:
        show_result(result, path)
    return result


def _finished(result: SearchSummary, config: Mapping[str, Any]) -> bool:
    wanted = config["strategy"]["evaluations"]
    return bool(result.exhausted or (wanted is not None and result.evaluated >= wanted))


def _search(
    config: dict[str, Any], run_dir: RunDir[CandidateRecord], loggers: Loggers, quiet: bool
) -> SearchSummary:
    from diswot.console import SearchProgress
    from diswot.engine import Search
    from diswot.loggers.followers import SearchLog
    from diswot.reporting.search import export, show_plan
    from diswot.scoring.pool import scoring_pool
    from diswot.scoring.setup import Setup, make_strategy, worker_count

    workers = worker_count(config)
    benchmark = _benchmark(config)
    setup = Setup.from_config(config)
    strategy = make_strategy(config, setup)
    if not quiet:
        show_plan(config, setup, strategy, run_dir.path, workers)
    loggers.start()
    search = Search(run_dir, strategy, setup.fitness, setup.others)
    if search.begun_with:
        found = ", ".join(f"{name} {version}" for name, version in search.begun_with.items())
        warnings.warn(f"this run was begun with {found}: bits may differ from now on", stacklevel=1)
    total = strategy.evaluations or setup.space.size.count
    log = SearchLog(loggers, search, strategy)
    with (
        scoring_pool(setup.scorer, workers) as measure,
        SearchProgress(total, search.journaled, "candidates.csv", quiet=quiet) as progress,
    ):
        search.run(measure, progress, log)
    result = export(config, setup, strategy, search, run_dir, benchmark=benchmark)
    log.finish(asdict(result), run_dir.path)
    return result


def _benchmark(config: Mapping[str, Any]) -> Benchmark | None:
    """The known accuracies of the space, None where there are none at hand.

    Raises:
        UserError: Its settings are wrong.
    """
    from diswot.accuracies import NoAccuraciesError, benchmark_of

    if config.get("benchmark") is None:
        return None
    try:
        return benchmark_of(config)
    except NoAccuraciesError:
        return None


if __name__ == "__main__":
    sys.exit(main())
