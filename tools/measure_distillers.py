"""Trains one student with every distiller of the package and stores what came out.

``python tools/measure_distillers.py WORK`` runs in WORK, two trainings at a time (about half an
hour on two cores; a second start goes on where the first one ended), and writes
experiments/distillers/trainings.csv. With a name behind WORK it trains for another table,
NAME.csv: ``chains`` are students of students, ``few`` trains with 50 images a class, ``family``
another kind of network. ``make docs`` makes the tables of docs/distillers.md of them. A training
is a process of its own, whose CPU seconds and largest resident memory are kept.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from diswot.config import conf_dir

STORE = Path(__file__).parents[1] / "experiments" / "distillers"
SEEDS = (0, 1, 2)
COMMON = ["teacher=resnet20", "teacher.weights=embedded", "data.shuffle_seed=0", "protocol=short"]
SHORT = ["data=fashion_mini", "protocol.max_epochs=2", "+trainer.limit_train_batches=64"]
LIKE_THE_TEACHERS = ["data.mean=[0.286,0.286,0.286]", "data.std=[0.353,0.353,0.353]"]
TRAININGS = {
    "trainings": ["student=resnet8", *SHORT],
    "few": ["student=resnet8", "protocol.max_epochs=30", "data=npz", *LIKE_THE_TEACHERS],
    "family": ["student=mobilenetv2", *SHORT],
}
SOME = ["none", "kd", "dist", "ofa", "embedding", "at", "sp", "nst", "fitnet", "reviewkd"]
"""Distillers of all but the first."""
FURTHER = {
    "dkd": ["distiller.dkd.warmup=1"],
    "reviewkd": ["distiller.reviewkd.warmup=1"],
    "crd": ["distiller.crd.negatives=512"],
}
"""Settings that so short a training needs, or so small a machine."""
BALANCED = ["ab", "at", "byot", "crd", "dkd", "diswot", "ft", "ickd", "mlkd", "norm", "ofa", "pkt"]
BALANCED += ["rkd", "sd_dropout", "wsld"]
"""Trained a second time, by balanced weights: those that end a point below no distiller with their
own, but for simkd, beside which no other loss counts."""
COLUMNS = ["name", "seed", "test_top1", "cpu_seconds", "resident_mb"]


CHAINS = {
    "alone": ["student=resnet8", "teacher=none", "distiller=none"],
    "taught by resnet56": ["student=resnet8", "teacher=resnet56", "teacher.weights=embedded"],
    "assistant": ["student=resnet14", "teacher=resnet56", "teacher.weights=embedded"],
    "taught by the assistant": ["student=resnet8", "teacher=resnet14", "teacher.weights=assistant"],
    "born again": ["student=resnet8", "teacher=resnet8", "teacher.weights=alone"],
    "born again twice": ["student=resnet8", "teacher=resnet8", "teacher.weights=born again"],
}
"""Trainings, each after those whose student is its teacher."""
CHAINED = ["data=fashion_mini", "data.shuffle_seed=0", "protocol=short", "protocol.max_epochs=4"]


def train(run: Path, name: str, seed: int, words: Sequence[str]) -> list[Any]:
    """One training, unless it was done before; gives its row."""
    spent, result = run / "spent.json", run / "result.json"
    if not spent.exists():
        run.mkdir(parents=True, exist_ok=True)
        log = os.open(run / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        command = [sys.executable, "-m", "diswot.train", *words]
        command += [f"seed={seed}", f"hydra.run.dir={run}"]
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


def few_images(file: Path) -> Path:
    """The first 50 training images of each class, and all test images, as fashion_mini has them."""
    with (
        resources.open_binary("diswot.assets", "fashion_mini.npz") as stored,
        np.load(stored) as kept,
    ):
        arrays = dict(kept)
    of_class = (np.flatnonzero(arrays["y_train"] == label)[:50] for label in range(10))
    chosen = np.concatenate(list(of_class))
    for name in ("x_train", "y_train"):
        arrays[name] = arrays[name][chosen]
    for name in ("x_train", "x_test"):
        padded = np.pad(arrays[name], ((0, 0), (2, 2), (2, 2)))
        arrays[name] = np.repeat(padded[..., None], 3, axis=3)
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(file, **arrays)
    return file


def of_distillers(work: Path, kind: str) -> list[list[Any]]:
    """Rows of a training with each distiller, by name and seed."""
    names = sorted(file.stem for file in (conf_dir() / "distiller").glob("*.yaml"))
    order = (
        sorted(names, key=lambda name: name not in ("none", "kd")) if kind == "trainings" else SOME
    )
    common = [*COMMON, *TRAININGS[kind]]
    if kind == "few":
        common.append(f"data.path={few_images(work / 'few.npz')}")

    def row(name: str, seed: int) -> list[Any]:
        words = [*common, f"distiller={name}", *FURTHER.get(name, [])]
        words += ["teacher=none"] * (name == "none")
        return train(work / f"{name}-{seed}", name, seed, words)

    def balanced(name: str, seed: int) -> list[Any]:
        words = [*common, f"distiller={name}", *FURTHER.get(name, []), "protocol.balance=0.5"]
        return train(work / f"{name}-balanced-{seed}", f"{name}, balanced", seed, words)

    with ThreadPoolExecutor(2) as pool:
        own = pool.map(row, *zip(*product(order, SEEDS), strict=True))
        twice = BALANCED if kind == "trainings" else []
        further = [pool.submit(balanced, *each) for each in product(twice, SEEDS)]
        return sorted([*own, *(each.result() for each in further)])


def of_chains(work: Path) -> list[list[Any]]:
    """Rows of the trainings of `CHAINS`, in that order, a chain a seed at a time."""

    def run(name: str, seed: int) -> Path:
        return work / f"{name.replace(' ', '-')}-{seed}"

    def chain(seed: int) -> list[list[Any]]:
        rows = []
        for name, words in CHAINS.items():
            *others, teacher = words
            key, _, taught_by = teacher.partition("=")
            known = f"{key}={run(taught_by, seed)}" if taught_by in CHAINS else teacher
            rows.append(train(run(name, seed), name, seed, [*CHAINED, *others, known]))
        return rows

    with ThreadPoolExecutor(2) as pool:
        rows = [row for rows in pool.map(chain, SEEDS) for row in rows]
    return sorted(rows, key=lambda row: list(CHAINS).index(row[0]))


def main() -> None:
    """Train, then store."""
    kinds = [*TRAININGS, "chains"]
    if len(sys.argv) not in (2, 3) or not set(sys.argv[2:]) <= set(kinds):
        sys.exit(__doc__)
    work, kind = Path(sys.argv[1]).resolve(), (sys.argv[2:] or kinds)[0]
    found = of_chains(work) if kind == "chains" else of_distillers(work, kind)
    with (STORE / f"{kind}.csv").open("w", newline="", encoding="utf-8") as stored:
        csv.writer(stored, lineterminator="\n").writerows([COLUMNS, *found])


if __name__ == "__main__":
    main()
