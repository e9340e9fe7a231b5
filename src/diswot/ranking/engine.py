"""Scoring the architectures of a benchmark, seed by seed, and going on after a stop."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from diswot.errors import UserError
from diswot.proxies.shuffled import Shuffled
from diswot.ranking.scores import Scores
from diswot.runs import ScoreRecord
from diswot.scoring.pool import scoring_pool
from diswot.scoring.setup import Setup
from diswot.versions import versions

if TYPE_CHECKING:
    from diswot.proxies.base import Proxy
    from diswot.runs import RunDir
    from diswot.scoring.scorer import Measurement
    from diswot.spaces.base import Arch, Space

__all__ = ["collect", "score_all"]

_SYNC = 20  # records between two syncs to the disk


def score_all(
    config: Mapping[str, Any],
    archs: Sequence[str],
    seeds: Sequence[int],
    run_dir: RunDir[ScoreRecord],
    *,
    workers: int,
    progress: Callable[[ScoreRecord], object],
) -> list[ScoreRecord]:
    """Score every architecture under every seed; what the journal holds is not scored again.

    Args:
        config: Resolved, of ``conf/rank.yaml``.
        archs: Text forms.
        seeds: Each keys parameters and mini-batch.
        run_dir: Open and locked.
        workers: Scoring processes.
        progress: Called with every new record.

    Returns:
        A record for every seed and architecture, seed by seed.

    Raises:
        UserError: Settings that are wrong, or that do not go together.
    """
    known = {(record.seed, record.arch): record for record, _ in run_dir.journal.read()}
    for seed in seeds:
        fresh = [arch for arch in archs if (seed, arch) not in known]
        if not fresh:
            continue
        setup = Setup.from_config({**config, "seed": seed})
        parsed = _parsed(setup.space, fresh)
        run_dir.begin()
        _note_versions(run_dir)
        with scoring_pool(setup.scorer, workers) as measure:
            for number, found in enumerate(measure(parsed), start=1):
                record = _record(found, seed)
                run_dir.journal.append(record)
                if number % _SYNC == 0:
                    run_dir.journal.sync()
                known[seed, record.arch] = record
                progress(record)
        run_dir.journal.sync()
    return [known[seed, arch] for seed in seeds for arch in archs]


def _note_versions(run_dir: RunDir[ScoreRecord]) -> None:
    """CandidateRecord what the bits depend on; say so where an earlier start had others."""
    here, state = versions(), run_dir.load_state()
    if state is None:
        run_dir.save_state({"schema": 1, "versions": here})
        return
    begun = state.get("versions", {})
    if found := ", ".join(f"{name} {old}" for name, old in begun.items() if here.get(name) != old):
        warnings.warn(f"this run was begun with {found}: bits may differ from now on", stacklevel=1)


def _parsed(space: Space, archs: Sequence[str]) -> list[Arch]:
    try:
        return [space.parse(arch) for arch in archs]
    except UserError as error:
        raise UserError(
            f"{error}; space {space.name} must hold every architecture that is ranked: "
            "change its settings, or give another benchmark"
        ) from None


def _record(found: Measurement, seed: int) -> ScoreRecord:
    cost = found.cost
    return ScoreRecord(
        arch=found.arch,
        seed=seed,
        parts=found.parts,
        failures=found.failures,
        params=None if cost is None else cost.params,
        flops=None if cost is None else cost.flops,
        layers=None if cost is None else cost.layers,
        seconds={name: round(value, 5) for name, value in found.seconds_each.items()},
    )


def collect(
    records: Sequence[ScoreRecord],
    archs: Sequence[str],
    seeds: Sequence[int],
    proxies: Mapping[str, Proxy],
) -> Scores:
    """Put records in order: what every proxy says of every architecture under every seed.

    Args:
        records: One for every seed and architecture.
        archs: Text forms.
        seeds: As scored.
        proxies: By name.
    """
    known = {(record.seed, record.arch): record for record in records}
    for record in records:
        _check_whole(record, proxies)
    rows = [[known[seed, arch] for arch in archs] for seed in seeds]
    first = rows[0]
    return Scores(
        archs=tuple(archs),
        seeds=tuple(seeds),
        values={
            name: np.stack([_values(row, name, proxy) for row in rows])
            for name, proxy in proxies.items()
        },
        seconds={name: _seconds(records, name) for name in proxies},
        params=np.array([np.nan if r.params is None else r.params for r in first], dtype=float),
        flops=np.array([np.nan if r.flops is None else r.flops for r in first], dtype=float),
        baselines=frozenset(name for name, proxy in proxies.items() if proxy.baseline),
        controls={p.of: name for name, p in proxies.items() if isinstance(p, Shuffled)},
    )


def _check_whole(record: ScoreRecord, proxies: Mapping[str, Proxy]) -> None:
    told = {*(name for name, parts in record.parts.items() if parts), *record.failures}
    if missing := [name for name in proxies if name not in told and "*" not in told]:
        raise UserError(
            f"{ScoreRecord.file}: the line of {record.arch} under seed {record.seed} says nothing "
            f"of {', '.join(missing)}; remove the line, and the same command scores it again"
        )


def _values(row: Sequence[ScoreRecord], name: str, proxy: Proxy) -> np.ndarray[Any, Any]:
    """Scores of one seed; a relative proxy compares the architectures of that seed."""
    values = np.full(len(row), np.nan)
    there = [index for index, record in enumerate(row) if name in record.parts]
    if there:
        values[there] = proxy.fitness([row[index].parts[name] for index in there])
    return values


def _seconds(records: Sequence[ScoreRecord], name: str) -> float:
    told = [record.seconds[name] for record in records if name in record.seconds]
    return sum(told) / len(told) if told else float("nan")
