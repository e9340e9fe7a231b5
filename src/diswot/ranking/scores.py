"""Scores of all proxies for the architectures of a benchmark, seed by seed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
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


def united(records: Iterable[ScoreRecord]) -> dict[tuple[int, str], ScoreRecord]:
    """One record of every seed and architecture, with what all of its records say."""
    known: dict[tuple[int, str], ScoreRecord] = {}
    for record in records:
        before = known.setdefault((record.seed, record.arch), record)
        if before is not record:
            known[record.seed, record.arch] = replace(
                before,
                parts={**before.parts, **record.parts},
                failures={**before.failures, **record.failures},
                seconds={**before.seconds, **record.seconds},
            )
    return known


def lacking(record: ScoreRecord | None, names: Iterable[str]) -> tuple[str, ...]:
    """The proxies among ``names`` of which a record says nothing; all where there is none."""
    if record is None:
        return tuple(names)
    said = {*(name for name, parts in record.parts.items() if parts), *record.failures}
    return () if "*" in said else tuple(name for name in names if name not in said)


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
    known = united(record for record, _ in run_dir.journal.read())
    for seed in seeds:
        parts: dict[tuple[str, ...], list[str]] = {}
        for arch in archs:
            parts.setdefault(lacking(known.get((seed, arch)), proxies), []).append(arch)
        parts.pop((), None)
        for names, fresh in parts.items():
            own = {name: proxies[name] for name in names}
            given = ({**config, "seed": seed}, fresh, run_dir)
            for record in _score(*given, data=data, proxies=own, workers=workers):
                known |= united([known.get((seed, record.arch), record), record])
                progress(record)
    return [known[seed, arch] for seed in seeds for arch in archs]


def _score(
    config: Mapping[str, Any],
    archs: Sequence[str],
    run_dir: RunDir[ScoreRecord],
    *,
    data: ImageData,
    proxies: Mapping[str, Proxy],
    workers: int,
) -> Iterator[ScoreRecord]:
    """Score under the config's seed; every record is in the journal when it is given."""
    from diswot.scoring.pool import scoring_pool
    from diswot.scoring.setup import Setup

    setup = Setup.from_config(config, data=data, proxies=proxies)
    try:
        parsed = list(map(setup.space.parse, archs))
    except UserError as error:
        raise UserError(
            f"benchmark={config['benchmark']['name']}: {error}; space {setup.space.name} must "
            "hold every architecture that is ranked: change the space's settings or the table"
        ) from None
    run_dir.begin()
    _note_versions(run_dir)
    with scoring_pool(setup.scorer, workers) as measure:
        for measurement in measure(parsed):
            cost = measurement.cost
            record = ScoreRecord(
                arch=measurement.arch,
                seed=config["seed"],
                parts=measurement.parts,
                failures=measurement.failures,
                seconds={k: round(spent, 5) for k, spent in measurement.seconds_each.items()},
                **(asdict(cost) if cost else dict.fromkeys(("params", "flops", "layers"))),
            )
            run_dir.journal.append(record)
            yield record


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
    """Scores of every architecture under every seed, by the proxies and their controls."""
    from diswot.proxies.cost import Shuffled

    known = united(records)
    rows = [[known[seed, arch] for arch in archs] for seed in seeds]
    values = {name: np.full((len(seeds), len(archs)), nan) for name in proxies}
    for name, proxy in proxies.items():  # a relative one compares the architectures of a seed
        for row, own in zip(rows, values[name], strict=True):
            if measured := [index for index, record in enumerate(row) if name in record.parts]:
                own[measured] = proxy.fitness([row[index].parts[name] for index in measured])
    seconds = {n: [r.seconds[n] for r in known.values() if n in r.seconds] for n in proxies}
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
