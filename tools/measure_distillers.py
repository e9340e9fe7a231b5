"""Trains one student with every distiller of the package and stores what came out.

``python tools/measure_distillers.py WORK`` runs in WORK, two trainings at a time (about half an
hour on two cores; a second start goes on where the first one ended), and writes
experiments/distillers/trainings.csv. ``make docs`` makes the table of docs/distillers.md of it.
A training is a process of its own, whose CPU seconds and largest resident memory are kept.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from diswot.config import conf_dir

STORE = Path(__file__).parents[1] / "experiments" / "distillers" / "trainings.csv"
SEEDS = (0, 1, 2)
COMMON = ["student=resnet8", "teacher=resnet20", "teacher.weights=embedded", "data=fashion_mini"]
COMMON += ["data.shuffle_seed=0", "protocol=short", "protocol.max_epochs=2"]
COMMON += ["+trainer.limit_train_batches=64"]
FURTHER = {
    "dkd": ["distiller.dkd.warmup=1"],
    "reviewkd": ["distiller.reviewkd.warmup=1"],
    "crd": ["distiller.crd.negatives=512"],
}
"""Settings that so short a training needs, or so small a machine."""
COLUMNS = ["distiller", "seed", "test_top1", "cpu_seconds", "resident_mb"]


def train(work: Path, name: str, seed: int) -> list[Any]:
    """One training, unless it was done before; gives its row."""
    run = work / f"{name}-{seed}"
    spent, result = run / "spent.json", run / "result.json"
    if not spent.exists():
        words = [*COMMON, f"distiller={name}", f"seed={seed}", *FURTHER.get(name, [])]
        words += ["teacher=none"] * (name == "none")
        run.mkdir(parents=True, exist_ok=True)
        log = os.open(run / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        command = [sys.executable, "-m", "diswot.train", *words, f"hydra.run.dir={run}"]
        actions = [(os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)]
        one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
        pid = os.posix_spawn(sys.executable, command, one_thread, file_actions=actions)
        _, status, usage = os.wait4(pid, 0)
        os.close(log)
        if status:
            sys.exit(f"{name}, seed {seed} failed: see {run / 'log.txt'}")
        seconds = round(usage.ru_utime + usage.ru_stime, 1)
        spent.write_text(json.dumps([seconds, round(usage.ru_maxrss / 1024)]), encoding="utf-8")
        sys.stderr.write(f"{name}, seed {seed}: {seconds} s\n")
    top1 = json.loads(result.read_text(encoding="utf-8"))["test_top1"]
    return [name, seed, round(top1, 2), *json.loads(spent.read_text(encoding="utf-8"))]


def rows(work: Path) -> Iterator[list[Any]]:
    """Rows of all trainings, by name and seed."""
    names = sorted(file.stem for file in (conf_dir() / "distiller").glob("*.yaml"))
    order = ["none", "kd", *(name for name in names if name not in ("none", "kd"))]
    with ThreadPoolExecutor(2) as pool:
        wanted = [(name, seed) for name in order for seed in SEEDS]
        yield from sorted(pool.map(lambda each: train(work, *each), wanted))


def main() -> None:
    """Train, then store."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    found = list(rows(Path(sys.argv[1]).resolve()))
    with STORE.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *found])


if __name__ == "__main__":
    main()
