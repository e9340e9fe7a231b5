"""Search for the student a teacher distils best: ``python -m diswot.search``."""

from __future__ import annotations

import shlex
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from diswot.engine import Search
    from diswot.scoring.setup import Setup
    from diswot.storage.journal import Record
    from diswot.strategies.base import Strategy

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

    from diswot.hydra_app import to_plain

    hydra = HydraConfig.get()
    result = run_search(to_plain(cfg), Path(hydra.runtime.output_dir))
    if hydra.mode is RunMode.RUN:
        sys.stdout.write(f"Next: {_next_command(hydra, result)}\n")
    return float(result["score"])


def _next_command(hydra: Any, result: Mapping[str, Any]) -> str:
    """Goes on with this search; where nothing is left to score, tries another seed."""
    if result["exhausted"]:
        setting, value = "seed", result["seed"] + 1
    else:
        setting, value = "strategy.evaluations", 2 * result["evaluated"]
    fixed = [word for word in hydra.overrides.hydra if word.startswith("hydra.run.dir=")]
    words = [w for w in [*hydra.overrides.task, *fixed] if not w.startswith(f"{setting}=")]
    folders = [
        f"--config-dir={source.path}"
        for source in hydra.runtime.config_sources
        if source.provider == "command-line"
    ]
    if setting == "seed":
        words = [word for word in words if word not in fixed]
    return shlex.join(["python", "-m", "diswot.search", *folders, *words, f"{setting}={value}"])


def run_search(config: dict[str, Any], path: Path, *, quiet: bool = False) -> dict[str, Any]:
    """Search, or go on with a search, in a run directory.

    Args:
        config: Resolved config of ``conf/search.yaml``.
        path: The run directory.
        quiet: Show nothing.

    Returns:
        What ``result.json`` holds.

    Raises:
        UserError: Wrong input.
        KeyboardInterrupt: Stopped; the message says how to go on.
        OSError: The run directory cannot be written.
    """
    from diswot.scoring.runtime import resolve_device
    from diswot.storage import RunDir

    config = {**config, "device": resolve_device(config["device"])}
    with RunDir(path, config) as run_dir:
        result = run_dir.load_result()
        if result is None or not _finished(result, config):
            result = _search(config, run_dir, quiet)
        elif not quiet:
            sys.stdout.write(f"This search has finished before, in {_shown(path)}.\n")
        if not quiet:
            _show(result, path)
        return result


def _finished(result: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    wanted = config["strategy"]["evaluations"]
    return bool(result["exhausted"] or (wanted is not None and result["evaluated"] >= wanted))


def _search(config: dict[str, Any], run_dir: Any, quiet: bool) -> dict[str, Any]:
    from contextlib import nullcontext

    from diswot.engine import Search
    from diswot.reporting.console import SearchProgress, show_plan
    from diswot.scoring.pool import scoring_pool
    from diswot.scoring.setup import Setup, make_strategy, worker_count

    workers = worker_count(config)
    setup = Setup.from_config(config)
    strategy = make_strategy(config, setup)
    search = Search(run_dir, strategy, setup.fitness, setup.others)
    if not quiet:
        show_plan(_plan(config, setup, strategy, run_dir.path, workers))
    if search.begun_with:
        found = ", ".join(f"{name} {version}" for name, version in search.begun_with.items())
        warnings.warn(f"this run was begun with {found}: bits may differ from now on", stacklevel=1)
    total = strategy.evaluations or setup.space.size.count
    try:
        with (
            scoring_pool(setup.scorer, workers) as measure,
            nullcontext(_silent) if quiet else SearchProgress(total, search.journaled) as progress,
        ):
            search.run(measure, progress)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"Stopped after {search.evaluated:,} candidates, all kept in {run_dir.path}. "
            "The same command goes on from there."
        ) from None
    return _export(config, setup, strategy, search, run_dir)


def _shown(path: Path) -> str:
    """Relative to the current folder, where it is below it."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _silent(record: Record, evaluated: int, best: float | None) -> None:
    """Progress that shows nothing."""


def _plan(
    config: Mapping[str, Any], setup: Setup, strategy: Strategy, path: Path, workers: int
) -> dict[str, str]:
    name, proxy = setup.fitness
    settings = ", ".join(f"{key} {value}" for key, value in proxy.settings().items())
    others = f"; also {', '.join(other for other, _ in setup.others)}" if setup.others else ""
    evaluations = strategy.evaluations or setup.space.size
    teacher = (
        f"{setup.teacher} (weights: {config['teacher']['weights']})" if setup.teacher else "none"
    )
    batch = len(setup.scorer.batch.labels)
    return {
        "space": f"{setup.space.name}, {setup.space.size} architectures",
        "teacher": teacher,
        "proxy": f"{name}{f' ({settings})' if settings else ''}{others}",
        "strategy": f"{strategy.name}, {evaluations:,} evaluations"
        if isinstance(evaluations, int)
        else f"{strategy.name}, {evaluations} evaluations",
        "budget": str(strategy.proposals.budget),
        "data": f"{setup.data.name}, {batch} images of {setup.data.image_size}×"
        f"{setup.data.image_size}, {setup.num_classes} classes",
        "init": f"{config['init']['_target_'].rpartition('.')[2].lower()}, seed {config['seed']}",
        "device": f"{config['device']}, {config['precision']}, {workers} worker(s)",
        "run dir": _shown(path),
    }


def _export(
    config: Mapping[str, Any], setup: Setup, strategy: Strategy, search: Search, run_dir: Any
) -> dict[str, Any]:
    from diswot.reporting.search import candidates_csv, plot_search, top
    from diswot.versions import versions

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


def _show(result: Mapping[str, Any], path: Path) -> None:
    from diswot.reporting.console import show_top

    show_top(result)
    lines = [
        f"{result['evaluated']:,} candidates in {result['seconds']:.1f} s "
        f"({result['candidates_per_second']:.2f}/s), {result['rejected']:,} over budget",
        *(f"  {_shown(path / name)}" for name in ("result.json", "candidates.csv", "search.png")),
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
