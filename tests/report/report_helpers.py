"""Runs as the commands leave them: one real search and ranking, copied with other seeds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from diswot.commands import compose
from diswot.rank import run_rank
from diswot.runs import EpochRecord, Journal
from diswot.runs.files import write_json
from diswot.search import run_search

Json = dict[str, Any]

TINY = [
    *("space=s0", "teacher=resnet8", "data=gaussian", "data.batch_size=6", "data.image_size=16"),
    *("device=cpu", "workers=1"),
]


def make_search(path: Path) -> Path:
    settings = ["proxy=diswot", "strategy.evaluations=12", "strategy.population=8"]
    run_search(compose("search", [*TINY, *settings, "strategy.sample=4"], None), path, quiet=True)
    return path


def make_rank(path: Path) -> Path:
    settings = ["teacher=none", "proxy=random", "benchmark.sample=20", "resamples=50", "seeds=2"]
    run_rank(compose("rank", [*TINY, *settings], None), path, quiet=True)
    return path


def make_train(path: Path, seed: int, top1: float, distiller: str = "kd") -> Path:
    """What a training of three epochs leaves, without the training."""
    path.mkdir(parents=True)
    words = ["student=resnet8", "teacher.weights=embedded", f"distiller={distiller}"]
    config = compose("train", [*words, f"seed={seed}"], None)
    write_json(path / "config.json", config)
    journal = Journal(path / EpochRecord.file, EpochRecord)
    for epoch in range(3):
        losses = {"loss": 3.0 / (epoch + 1), "ce": 2.0 / (epoch + 1)}
        reached = top1 - 2 + epoch
        journal.append(EpochRecord(epoch, 0.1, losses, 1.0, reached, 99.0, reached, 100.0, 2.0))
    journal.close()
    result = {
        "schema": 1,
        "student": "resnet8",
        "teacher": "resnet56" if distiller != "none" else None,
        "distiller": list(config["distiller"] or {}),
        "epochs": 3,
        "test_top1": top1,
        "params": 78042,
        "flops": 12500000,
        "validated_on": "test",
        "seconds": 6.0,
        "seed": seed,
        "versions": {"diswot": "0.1.0"},
    }
    write_json(path / "result.json", result)
    return path


def read(path: Path) -> Json:
    value: Json = json.loads(path.read_text(encoding="utf-8"))
    return value


def copied(run: Path, to: Path, seed: int, **result: Any) -> Path:
    """The same run under another seed, and with other figures in its result."""
    shutil.copytree(run, to)
    config = read(to / "config.json")
    config |= {"seed": seed, "data": {**config["data"], "shuffle_seed": seed}}
    write_json(to / "config.json", config)
    changed = {**read(to / "result.json"), "seed": seed, **result}
    (to / "result.json").write_text(json.dumps(changed), encoding="utf-8")
    return to


def configured(run: Path, **settings: Any) -> Path:
    """Changes settings of a run's config."""
    write_json(run / "config.json", {**read(run / "config.json"), **settings})
    return run
