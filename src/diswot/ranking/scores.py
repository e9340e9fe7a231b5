"""Scores of all proxies for the architectures of a benchmark, seed by seed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import nan
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diswot.errors import UserError
from diswot.runs import ScoreRecord
from diswot.versions import versions

if TYPE_CHECKING:
    from diswot.accuracies import Benchmark
    from diswot.data.base import ImageData
    from diswot.proxies.base import Proxy
    from diswot.runs.run_dir import RunDir


_SYNC = 20  # records between two syncs to the disk


@dataclass(frozen=True)
class Scores:
    """Scores of every proxy for every arch, and what they cost.

    Attributes:
        archs: Texts of the N architectures; ``params`` and ``flops`` are theirs, (N,).
        values: Proxy → (S, N) for S seeds, higher is better, NaN where it could not be scored.
        seconds: Proxy → mean seconds an arch.
        baselines: Proxies that look at size alone or at nothing.
        controls: Proxy → its control, which is among the values too.
    """

    archs: tuple[str, ...]
    seeds: tuple[int, ...]
    values: Mapping[str, NDArray[np.float64]]
    seconds: Mapping[str, float]
    params: NDArray[np.float64]
    flops: NDArray[np.float64]
    baselines: frozenset[str]
    controls: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    """Accuracies of the archs, ``(N,)`` in percent, in the order of `Scores.archs`.

    Trained on ``dataset``, such as ``cifar100``, as ``target`` says: ``vanilla``, ``distilled``.
    """

    dataset: str
    target: str
    accuracy: NDArray[np.float64]


def targets_of(benchmark: Benchmark, archs: Sequence[str]) -> list[Target]:
    """Accuracies that a benchmark knows of the architectures; a missing one raises `UserError`."""
    return [
        Target(dataset, target, np.array([benchmark.accuracy(a, dataset, target) for a in archs]))
        for dataset, target in benchmark.entries()
    ]


def conditions_of(config: Mapping[str, Any], data: ImageData, source: str) -> dict[str, Any]:
    """Columns of rank.csv, and entries of result.json, that are the same for all scores."""
    return {
        "space": config["space"]["name"],
        "data": data.name,
        "num_classes": config["num_classes"],
        "init": config["init"]["_target_"].rpartition(".")[2].lower(),
        "teacher": config["teacher"]["name"],
        "teacher_weights": str(config["teacher"].get("weights", "none")),
        "batch_size": config["data"]["batch_size"],
        "image_size": data.image_size,
        "source": source,
    }


def score_all(
    config: Mapping[str, Any],
    archs: Sequence[str],
    seeds: Sequence[int],
    run_dir: RunDir[ScoreRecord],
    *,
    data: ImageData,
    proxies: Mapping[str, Proxy],
    workers: int,
    progress: Callable[[ScoreRecord], object],
) -> list[ScoreRecord]:
    """Score every architecture under every seed; what the journal holds is not scored again.

    Data and proxies, not yet bound, are those of the resolved ``conf/rank.yaml``. A seed keys
    parameters and mini-batch. ``run_dir`` is open and locked, ``progress`` gets every new record;
    given are all records, seed by seed. Settings that do not go together raise `UserError`.
    """
    from diswot.scoring.pool import scoring_pool
    from diswot.scoring.setup import Setup

    known = {(record.seed, record.arch): record for record, _ in run_dir.journal.read()}
    for seed in seeds:
        fresh = [arch for arch in archs if (seed, arch) not in known]
        if not fresh:
            continue
        setup = Setup.from_config({**config, "seed": seed}, data=data, proxies=proxies)
        try:
            parsed = list(map(setup.space.parse, fresh))
        except UserError as error:
            raise UserError(
                f"benchmark={config['benchmark']['name']}: {error}; space {setup.space.name} must "
                "hold every architecture that is ranked: change the space's settings or the table"
            ) from None
        run_dir.begin()
        _note_versions(run_dir)
        with scoring_pool(setup.scorer, workers) as measure:
            for number, measurement in enumerate(measure(parsed), start=1):
                cost = measurement.cost
                record = ScoreRecord(
                    arch=measurement.arch,
                    seed=seed,
                    parts=measurement.parts,
                    failures=measurement.failures,
                    seconds={k: round(spent, 5) for k, spent in measurement.seconds_each.items()},
                    **(asdict(cost) if cost else dict.fromkeys(("params", "flops", "layers"))),
                )
                run_dir.journal.append(record)
                if number % _SYNC == 0:
                    run_dir.journal.sync()
                known[seed, record.arch] = record
                progress(record)
        run_dir.journal.sync()
    return [known[seed, arch] for seed in seeds for arch in archs]


def _note_versions(run_dir: RunDir[ScoreRecord]) -> None:
    """Record what the bits depend on; say so where an earlier start had others."""
    here, state = versions(), run_dir.load_state()
    if state is None:
        run_dir.save_state({"schema": 1, "versions": here})
    begun = (state or {}).get("versions", {})
    if other := ", ".join(f"{name} {old}" for name, old in begun.items() if here.get(name) != old):
        warnings.warn(f"this run was begun with {other}: bits may differ from now on", stacklevel=1)


def collect(
    records: Sequence[ScoreRecord],
    archs: Sequence[str],
    seeds: Sequence[int],
    proxies: Mapping[str, Proxy],
) -> Scores:
    """Scores of every architecture under every seed, by the proxies and their controls.

    A record that says nothing of a proxy raises `UserError`.
    """
    from diswot.proxies.cost import Shuffled

    for record in records:
        names = {*(name for name, parts in record.parts.items() if parts), *record.failures}
        if (missing := [name for name in proxies if name not in names]) and "*" not in names:
            raise UserError(
                f"{ScoreRecord.file}: the line of {record.arch} under seed {record.seed} says "
                f"nothing of {', '.join(missing)}; remove the line, and the same command scores "
                "it again"
            )
    known = {(record.seed, record.arch): record for record in records}
    rows = [[known[seed, arch] for arch in archs] for seed in seeds]
    values = {name: np.full((len(seeds), len(archs)), nan) for name in proxies}
    for name, proxy in proxies.items():  # a relative one compares the architectures of a seed
        for row, own in zip(rows, values[name], strict=True):
            if measured := [index for index, record in enumerate(row) if name in record.parts]:
                own[measured] = proxy.fitness([row[index].parts[name] for index in measured])
    seconds = {name: [r.seconds[name] for r in records if name in r.seconds] for name in proxies}
    return Scores(
        archs=tuple(archs),
        seeds=tuple(seeds),
        values=values,
        seconds={name: float(np.mean(own)) if own else nan for name, own in seconds.items()},
        params=np.array([record.params for record in rows[0]], dtype=np.float64),
        flops=np.array([record.flops for record in rows[0]], dtype=np.float64),
        baselines=frozenset(name for name, proxy in proxies.items() if proxy.baseline),
        controls={p.of: name for name, p in proxies.items() if isinstance(p, Shuffled)},
    )
