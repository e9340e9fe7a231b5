"""Measure how well proxies predict accuracies that are known: ``python -m diswot.rank``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diswot.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from diswot.loggers import Loggers
    from diswot.loggers.followers import RankLog
    from diswot.ranking.shards import Shard
    from diswot.runs import RankRow, RunDir, ScoreRecord

__all__ = ["main", "merge_shards", "run_rank"]

_BASELINES = {
    "params": "diswot.proxies.cost.Params",
    "flops": "diswot.proxies.cost.Flops",
}
"""In every table, chosen or not."""

_OF_TABLE = ("source", "path", "datasets")
"""Settings of a benchmark that may be given with ``merge``."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the Hydra app.

    Args:
        argv: Overrides; by default those of the command line.

    Returns:
        Exit code.
    """
    from diswot.hydra_app import run_app

    return run_app("rank", job, sys.argv[1:] if argv is None else argv)


def job(cfg: DictConfig) -> None:
    """One ranking, or the union of shards."""
    from hydra.core.hydra_config import HydraConfig

    from diswot.config import known_targets
    from diswot.hydra_app import to_plain
    from diswot.loggers import sweep_folder

    hydra = HydraConfig.get()
    config, path = to_plain(cfg), Path(hydra.runtime.output_dir)
    try:
        if config["merge"] is None:
            run_rank(config, path, group=sweep_folder())
        else:
            folders = [Path(s.path) for s in hydra.runtime.config_sources if s.schema == "file"]
            merge_shards(
                Path(str(config["merge"])),
                known_targets(folders),
                resamples=config["resamples"],
                benchmark=_beside_merge(config, hydra.overrides.task),
            )
    finally:
        with suppress(OSError):  # Hydra made them; they stay where something was written
            path.rmdir()
            if config["shard"] is not None:
                path.parent.rmdir()


def _beside_merge(config: Mapping[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """The settings of the benchmark that stand beside ``merge``; others come from the shards.

    Raises:
        UserError: Another setting is given.
    """
    given: dict[str, Any] = {}
    for name in (word.lstrip("+~").partition("=")[0] for word in words):
        group, _, key = name.partition(".")
        if group == "benchmark":
            given |= {key: config["benchmark"][key]} if key in _OF_TABLE else {}
        elif name not in ("merge", "resamples", "debug"):
            raise UserError(
                f"merge={config['merge']} takes its settings from the shards, {name} too; allowed "
                f"beside it are resamples, benchmark and benchmark.{'|'.join(_OF_TABLE)}"
            )
    return given


def run_rank(
    config: dict[str, Any], path: Path, *, quiet: bool = False, group: str | None = None
) -> list[RankRow]:
    """Rank, or go on with a ranking, in a run directory.

    Args:
        config: Resolved config of ``conf/rank.yaml``.
        path: The run directory.
        quiet: Show nothing.
        group: Of runs that belong together, for loggers.

    Returns:
        The rows of ``rank.csv``; none for a shard, which is of use only with the others.

    Raises:
        UserError: Wrong input.
        KeyboardInterrupt: Stopped; the message says how to go on.
        OSError: The run directory cannot be written.
    """
    from diswot.accuracies import benchmark_of
    from diswot.checks import flag, whole
    from diswot.config import require
    from diswot.console import print_lines
    from diswot.loggers import LoggedRun, Loggers
    from diswot.ranking.report import accuracies, report
    from diswot.ranking.shards import Shard
    from diswot.reporting.plan import show_rank_plan
    from diswot.runs import RunDir, ScoreRecord
    from diswot.scoring.runtime import resolve_device
    from diswot.scoring.setup import class_count, make_data, make_proxies, worker_count

    require(config, "space", "benchmark", "teacher", "data", "init")
    flag("debug", config["debug"])
    whole("resamples", config["resamples"], 1)
    make_proxies(config)
    proxies = {**config["proxy"], **_missing_baselines(config["proxy"])}
    config = {**config, "proxy": proxies, "device": resolve_device(config["device"])}
    seeds, workers = _seeds(config), worker_count(config)
    shard, benchmark = Shard.parse(config["shard"]), benchmark_of(config)
    archs = _part(shard, benchmark.select(seeds.start))
    accuracies(benchmark, archs)  # what is not known is said before hours of scoring
    data = make_data(config)
    config["num_classes"] = class_count(config, data)
    if not quiet:
        show_rank_plan(config, benchmark, len(archs), data=data, workers=workers, path=path)
    run_dir = RunDir(path, config, ScoreRecord)
    try:
        with (
            run_dir,
            Loggers(LoggedRun("rank", path, config, "scored", group), quiet=quiet) as loggers,
        ):
            records, log = _score(config, archs, run_dir, loggers, workers=workers, quiet=quiet)
            if shard.count == 1:
                rows = report(config, benchmark, archs, seeds, records, path=path, quiet=quiet)
                log.finish(rows, path)
                return rows
    except KeyboardInterrupt:
        kept = "what was scored is kept" if run_dir.begun else "nothing was scored yet"
        raise KeyboardInterrupt(
            f"Stopped; {kept} in {path}. The same command goes on from there."
        ) from None
    if not quiet:
        print_lines([f"Shard {shard} is done; when all are: {_merge_command(config, path)}"])
    return []


def _part(shard: Shard, archs: Sequence[str]) -> Sequence[str]:
    if shard.count > len(archs):
        raise UserError(
            f"shard={shard}: there are {len(archs):,} architectures to rank; give at most as many "
            "shards"
        )
    # A table of another source may have another order: shards must be parts of the same one.
    return archs if shard.count == 1 else shard.take(sorted(archs))


def _merge_command(config: Mapping[str, Any], path: Path) -> str:
    from diswot.console import shown

    words = ["diswot", "rank", f"merge={shown(path.parent)}"]
    if file := config["benchmark"].get("path"):
        words += [f"benchmark={config['benchmark']['name']}", f"benchmark.path={file}"]
    return shlex.join(words)


def merge_shards(
    folder: Path,
    targets: Collection[str],
    *,
    resamples: int = 1000,
    benchmark: Mapping[str, Any] | None = None,
    quiet: bool = False,
) -> list[RankRow]:
    """Unite the shards in a folder and write the files of a ranking there.

    Args:
        folder: Holds a run directory a shard.
        targets: Classes and functions the shards' configs may name.
        resamples: Bootstrap resamples.
        benchmark: Settings of the benchmark in place of the shards'; a ``path`` that the shards
            name is read only if it is given here too.
        quiet: Show nothing.

    Returns:
        The rows of ``rank.csv``.

    Raises:
        UserError: Shards are missing, unfinished, or of different runs.
    """
    from diswot.accuracies import benchmark_of
    from diswot.checks import whole
    from diswot.ranking.report import report
    from diswot.ranking.shards import union

    whole("resamples", resamples, 1)
    config, records = union(folder, targets)
    config["benchmark"] = _trusted(folder, config["benchmark"], benchmark or {})
    seeds, table = _seeds(config), benchmark_of(config)
    archs = table.select(seeds.start)
    missing = {(s, a) for s in seeds for a in archs} - {(r.seed, r.arch) for r in records}
    if missing:
        seed, arch = min(missing)
        raise UserError(
            f"merge={folder}: {len(missing):,} scores are missing, such as {arch} under seed "
            f"{seed}: a shard has not finished; run its command again"
        )
    config["resamples"] = resamples
    return report(config, table, archs, seeds, records, path=folder, quiet=quiet)


def _trusted(
    folder: Path, benchmark: Mapping[str, Any], given: Mapping[str, Any]
) -> dict[str, Any]:
    """A benchmark's file may be a pickle, which runs code: who merges must name it himself."""
    named = benchmark.get("path")
    if named is not None and "path" not in given:
        raise UserError(
            f"merge={folder}: its shards were scored with benchmark.path={named}; if you trust "
            f"that file, give benchmark={benchmark.get('name')} benchmark.path={named} with merge"
        )
    return {**benchmark, **given}


def _missing_baselines(chosen: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: {"_target_": target, "name": name}
        for name, target in _BASELINES.items()
        if name not in chosen
    }


def _score(
    config: Mapping[str, Any],
    archs: Sequence[str],
    run_dir: RunDir[ScoreRecord],
    loggers: Loggers,
    *,
    workers: int,
    quiet: bool,
) -> tuple[list[ScoreRecord], RankLog]:
    from diswot.console import Progress
    from diswot.loggers.followers import RankLog
    from diswot.ranking.engine import score_all
    from diswot.runs import RankSummary

    seeds = _seeds(config)
    wanted = {(seed, arch) for seed in seeds for arch in archs}
    done = len(wanted & {(record.seed, record.arch) for record, _ in run_dir.journal.read()})
    log = RankLog(loggers, len(wanted), done, again=run_dir.load_result(RankSummary) is not None)
    log.begin()
    with Progress(len(wanted), done, "scores.jsonl", quiet=quiet) as progress:

        def told(record: ScoreRecord) -> None:
            nonlocal done
            done += 1
            progress.advance(done, f"seed {record.seed}", failed=bool(record.failures))
            log.scored(record)

        records = score_all(config, archs, seeds, run_dir, workers=workers, progress=told)
    return records, log


def _seeds(config: Mapping[str, Any]) -> range:
    from diswot.checks import whole

    first = whole("seed", config["seed"], 0)
    return range(first, first + whole("seeds", config["seeds"], 1))


if __name__ == "__main__":
    sys.exit(main())
