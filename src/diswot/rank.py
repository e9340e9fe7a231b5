"""Measure how well proxies predict accuracies that are known: ``python -m diswot.rank``."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diswot.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from diswot.ranking.table import Row
    from diswot.storage import RunDir, Scored

__all__ = ["main", "merge_shards", "run_rank"]

_BASELINES = {
    "params": "diswot.proxies.cost.Params",
    "flops": "diswot.proxies.cost.Flops",
}
"""In every table, chosen or not."""


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

    from diswot.hydra_app import known_targets, to_plain

    hydra = HydraConfig.get()
    config, path = to_plain(cfg), Path(hydra.runtime.output_dir)
    if config["merge"] is None:
        run_rank(config, path)
        return
    with suppress(OSError):  # Hydra made it; the union is written beside the shards
        path.rmdir()
    folders = [Path(s.path) for s in hydra.runtime.config_sources if s.schema == "file"]
    merge_shards(Path(config["merge"]), known_targets(folders), resamples=config["resamples"])


def run_rank(config: dict[str, Any], path: Path, *, quiet: bool = False) -> list[Row]:
    """Rank, or go on with a ranking, in a run directory.

    Args:
        config: Resolved config of ``conf/rank.yaml``.
        path: The run directory.
        quiet: Show nothing.

    Returns:
        The rows of ``rank.csv``; none for a shard, which is of use only with the others.

    Raises:
        UserError: Wrong input.
        KeyboardInterrupt: Stopped; the message says how to go on.
        OSError: The run directory cannot be written.
    """
    from diswot.benchmarks import benchmark_of
    from diswot.checks import flag, whole
    from diswot.ranking.report import report
    from diswot.ranking.shards import Shard
    from diswot.reporting.console import print_lines
    from diswot.reporting.plan import show_rank_plan
    from diswot.scoring.runtime import resolve_device
    from diswot.scoring.setup import class_count, make_data, worker_count
    from diswot.storage import RunDir, Scored

    flag("debug", config["debug"])
    whole("resamples", config["resamples"], 1)
    _seeds(config)
    proxies = {**config["proxy"], **_missing_baselines(config["proxy"])}
    config = {**config, "proxy": proxies, "device": resolve_device(config["device"])}
    data = make_data(config)
    config["num_classes"] = class_count(config, data)
    shard, benchmark = Shard.parse(config["shard"]), benchmark_of(config)
    archs = shard.take(benchmark.select(whole("seed", config["seed"], 0)))
    workers = worker_count(config)
    if not quiet:
        show_rank_plan(config, benchmark, len(archs), data=data, workers=workers, path=path)
    run_dir = RunDir(path, config, Scored)
    try:
        with run_dir:
            records = _score(config, archs, run_dir, workers, quiet)
            if shard.count == 1:
                return report(config, archs, _seeds(config), records, path, quiet=quiet)
    except KeyboardInterrupt:
        kept = "what was scored is kept" if run_dir.begun else "nothing was scored yet"
        raise KeyboardInterrupt(
            f"Stopped; {kept} in {path}. The same command goes on from there."
        ) from None
    if not quiet:
        print_lines([f"Shard {shard} is done; when all are: diswot rank merge={path.parent}"])
    return []


def merge_shards(
    folder: Path, targets: Collection[str], *, resamples: int, quiet: bool = False
) -> list[Row]:
    """Unite the shards in a folder and write the files of a ranking there.

    Args:
        folder: Holds a run directory a shard.
        targets: Classes and functions the shards' configs may name.
        resamples: Bootstrap resamples.
        quiet: Show nothing.

    Raises:
        UserError: Shards are missing, unfinished, or of different runs.
    """
    from diswot.benchmarks import benchmark_of
    from diswot.ranking.report import report
    from diswot.ranking.shards import union

    config, records = union(folder, targets)
    archs = benchmark_of(config).select(config["seed"])
    missing = {(s, a) for s in _seeds(config) for a in archs} - {(r.seed, r.arch) for r in records}
    if missing:
        seed, arch = min(missing)
        raise UserError(
            f"merge={folder}: {len(missing):,} scores are missing, such as {arch} under seed "
            f"{seed}: a shard has not finished; run its command again"
        )
    config["resamples"] = resamples
    return report(config, archs, _seeds(config), records, folder, quiet=quiet)


def _missing_baselines(chosen: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: {"_target_": target, "name": name}
        for name, target in _BASELINES.items()
        if name not in chosen
    }


def _score(
    config: Mapping[str, Any],
    archs: Sequence[str],
    run_dir: RunDir[Scored],
    workers: int,
    quiet: bool,
) -> list[Scored]:
    from diswot.ranking.engine import score_all
    from diswot.reporting.console import Progress

    seeds = _seeds(config)
    wanted = {(seed, arch) for seed in seeds for arch in archs}
    done = len(wanted & {(record.seed, record.arch) for record, _ in run_dir.journal.read()})
    with Progress(len(wanted), done, "scores.jsonl", quiet=quiet) as progress:

        def told(record: Scored) -> None:
            nonlocal done
            done += 1
            progress.advance(done, f"seed {record.seed}", failed=bool(record.failures))

        return score_all(config, archs, seeds, run_dir, workers=workers, progress=told)


def _seeds(config: Mapping[str, Any]) -> range:
    from diswot.checks import whole

    return range(config["seed"], config["seed"] + whole("seeds", config["seeds"], 1))


if __name__ == "__main__":
    sys.exit(main())
