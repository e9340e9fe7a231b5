"""Measure how well proxies predict accuracies that are known: ``python -m diswot.rank``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diswot.checks import whole
from diswot.commands import Command, Launch, Session, run_app, settled
from diswot.errors import UserError
from diswot.runs import RankSummary, ScoreRecord

if TYPE_CHECKING:
    from diswot.data import ImageData
    from diswot.loggers.followers import RankLog
    from diswot.proxies import Proxy
    from diswot.ranking.shards import Shard
    from diswot.runs import RankRow, TeacherAccuracy


_COMMAND = Command("rank", "ranking", ScoreRecord, RankSummary, axis="scored")

_BASELINES = {"params": "diswot.proxies.cost.Params", "flops": "diswot.proxies.cost.Flops"}
"""In every table, chosen or not."""

_OF_TABLE = ("source", "path", "datasets")
"""Settings of a benchmark that may be given with ``merge``."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command on ``argv``, else on the command line's words; gives its exit code."""
    return run_app("rank", job, argv)


def job(launch: Launch) -> None:
    """One ranking, or the union of shards."""
    from diswot.config import known_targets

    config = launch.config
    try:
        if config["merge"] is None:
            run_rank(config, launch.path, group=launch.sweep)
        else:
            merge_shards(
                Path(str(config["merge"])),
                known_targets(launch.folders),
                resamples=config["resamples"],
                benchmark=_beside_merge(config, launch.overrides),
            )
    finally:
        if config["shard"] is not None:
            with suppress(OSError):  # made for this shard and its ranking; they stay if written to
                launch.path.rmdir()
                launch.path.parent.rmdir()


def _beside_merge(config: Mapping[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """The settings of the benchmark that stand beside ``merge``; others come from the shards."""
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
    """Rank, or go on with a ranking, in a run directory; gives the rows of ``rank.csv``.

    There are none for a shard, which is of use only with the others. The config is that of
    ``conf/rank.yaml``, resolved; loggers put runs of one ``group`` together. Errors are those of
    `diswot.commands.Session.result`.
    """
    from diswot.accuracies import benchmark_of
    from diswot.console import print_lines
    from diswot.fingerprints import identified
    from diswot.ranking.scores import collect, targets_of
    from diswot.ranking.shards import Shard
    from diswot.reporting.rank import export, show_rank_plan
    from diswot.scoring.setup import (
        class_count,
        make_data,
        make_proxies,
        with_controls,
        worker_count,
    )

    config = settled(config, "space", "benchmark", "teacher", "data", "init")
    whole("resamples", config["resamples"], 1)
    whole("teacher_images", config["teacher_images"], 0)
    nodes = {name: {"_target_": target, "name": name} for name, target in _BASELINES.items()}
    proxies = make_proxies(config)
    if missing := {name: node for name, node in nodes.items() if name not in proxies}:
        config["proxy"] = {**config["proxy"], **missing}
        proxies |= make_proxies({"proxy": missing})
    seeds, workers = _seeds(config), worker_count(config)
    controlled = with_controls(proxies, config["control"], seeds.start)
    shard, benchmark = Shard.parse(config["shard"]), benchmark_of(config)
    archs = _part(shard, benchmark.select(seeds.start))
    targets = targets_of(benchmark, archs)  # what is not known is said before hours of scoring
    data = make_data(config)
    config["num_classes"] = class_count(config, data)
    session = Session(_COMMAND, identified(config), path, quiet=quiet, group=group)
    with_what: dict[str, Any] = {"data": data, "workers": workers}
    session.show(show_rank_plan, config, benchmark, len(archs), **with_what, path=path)
    with session.opened():
        accuracy = _teacher_accuracy(session, data)
        records, log = _score(session, archs, seeds, **with_what, proxies=proxies)
        if shard.count == 1:
            scores = collect(records, archs, seeds, controlled)
            found = (config, benchmark, data, scores, targets)
            rows = export(*found, path=path, quiet=quiet, accuracy=accuracy)
            log.finish(rows, path)
            return rows
    done = f"Shard {shard} is done; when all are: {_merge_command(config, path)}"
    session.show(print_lines, [done])
    return []


def _teacher_accuracy(
    session: Session[ScoreRecord, RankSummary], data: ImageData
) -> TeacherAccuracy | None:
    """How good a teacher with trained weights is itself; what others teach is not asked."""
    from diswot.console import print_lines
    from diswot.reporting import teacher_lines
    from diswot.teaching import check_known, doubt, measured

    config, spec = session.config, session.config["teacher"]
    if str(spec["weights"]) == "none":
        return None
    accuracy, problem = measured(spec, data, config["device"], config["teacher_images"])
    session.show(print_lines, teacher_lines(spec["name"], accuracy, problem))
    check_known(doubt(spec["name"], accuracy), strict=config["strict"])
    return accuracy


def _seeds(config: Mapping[str, Any]) -> range:
    first = whole("seed", config["seed"], 0)
    return range(first, first + whole("seeds", config["seeds"], 1))


def _part(shard: Shard, archs: Sequence[str]) -> Sequence[str]:
    if shard.count > len(archs):
        there = f"there are {len(archs):,} architectures to rank"
        raise UserError(f"shard={shard}: {there}; give at most as many shards")
    # A table of another source may have another order: shards must be parts of the same one.
    return archs if shard.count == 1 else shard.take(sorted(archs))


def _score(
    session: Session[ScoreRecord, RankSummary],
    archs: Sequence[str],
    seeds: range,
    *,
    data: ImageData,
    proxies: Mapping[str, Proxy],
    workers: int,
) -> tuple[list[ScoreRecord], RankLog]:
    from diswot.console import ScoringProgress
    from diswot.loggers.followers import RankLog
    from diswot.ranking.scores import lacking, score_all, united

    run_dir, total = session.run_dir, len(seeds) * len(archs)
    known = united(record for record, _ in run_dir.journal.read())
    done = sum(not lacking(known.get((s, a)), proxies) for s in seeds for a in archs)
    again = run_dir.load_result(RankSummary) is not None
    log = RankLog(session.loggers, total, done, again=again)
    with ScoringProgress(total, done, "scores.jsonl", quiet=session.quiet) as progress:

        def scored(record: ScoreRecord) -> None:
            nonlocal done
            done += 1
            progress.advance(done, f"seed {record.seed}", failed=bool(record.failures))
            log.scored(record)

        given = (session.config, archs, seeds, run_dir)
        records = score_all(*given, data=data, proxies=proxies, workers=workers, progress=scored)
    return records, log


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
    """Unite the shards in a folder and write a ranking's files there; gives rows as `run_rank`.

    The shards' configs may name only ``targets``. Settings in ``benchmark`` stand in place of
    theirs; a ``path`` that they name is read only if it is given there too. Raises `UserError`
    where shards are missing, unfinished, or of different runs.
    """
    from diswot.accuracies import benchmark_of
    from diswot.ranking.scores import collect, lacking, targets_of, united
    from diswot.ranking.shards import union
    from diswot.reporting.rank import export
    from diswot.scoring.setup import make_data, make_proxies, with_controls

    whole("resamples", resamples, 1)
    config, records = union(folder, targets)
    given, named = benchmark or {}, config["benchmark"].get("path")
    if named is not None and "path" not in given:  # it may be a pickle, which runs code
        raise UserError(
            f"merge={folder}: its shards were scored with benchmark.path={named}; if you trust "
            f"that file, give benchmark={config['benchmark'].get('name')} benchmark.path={named} "
            "with merge"
        )
    config |= {"benchmark": {**config["benchmark"], **given}, "resamples": resamples}
    seeds, table = _seeds(config), benchmark_of(config)
    archs = table.select(seeds.start)
    proxies = with_controls(make_proxies(config), config.get("control", "none"), seeds.start)
    found = united(records)
    if missing := [(s, a) for s in seeds for a in archs if lacking(found.get((s, a)), proxies)]:
        seed, arch = missing[0]
        raise UserError(
            f"merge={folder}: {len(missing):,} scores are missing, such as {arch} under seed "
            f"{seed}: a shard has not finished; run its command again"
        )
    scores, known = collect(records, archs, seeds, proxies), targets_of(table, archs)
    return export(config, table, make_data(config), scores, known, path=folder, quiet=quiet)


if __name__ == "__main__":
    sys.exit(main())
