"""What a GPU is to be measured for, within half an hour: scoring and training, as JSON lines.

Usage: python benchmarks/gpu.py [--device cuda|cpu] [--tiny] [--out FILE] [--steps NAME ...]

Each step runs in a process of its own and is ended at its time limit; what it has measured by then
is kept. Every line is printed, and appended to the file, as soon as it is known. With ``--tiny``
the steps are as short as can be, which shows that they run and measures nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from scipy.stats import spearmanr

from diswot.accuracies.sources import is_live
from diswot.commands import compose
from diswot.runs import CandidateRecord
from diswot.scoring.pool import scoring_pool
from diswot.scoring.scorer import Measurement, Scorer
from diswot.scoring.setup import Setup, worker_count
from diswot.versions import versions
from scoring import lineage
from training import Lightning, settings

Record = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """Where to measure, and whether only to show that it runs."""

    device: str
    tiny: bool

    @property
    def small(self) -> list[str]:
        """Settings that make everything short."""
        return ["data.batch_size=4"] * self.tiny

    @property
    def precisions(self) -> list[str]:
        """Precisions that are compared."""
        return ["32-true"] if self.tiny else ["32-true", "bf16-mixed"]

    def config(self, *words: str) -> Record:
        """Settings of a search on the device."""
        alone = ["workers=1"] * self.tiny
        return {**compose("search", [*words, *self.small, *alone], None), "device": self.device}


def scored(scorer: Scorer, archs: Sequence[Any], workers: int) -> tuple[list[Measurement], float]:
    """Measure with processes that have each scored one candidate before; results and seconds."""
    with scoring_pool(scorer, workers) as measure:
        list(measure(archs[:workers]))
        started = time.perf_counter()
        return list(measure(archs)), time.perf_counter() - started


def machine(options: Options) -> Iterator[Record]:
    """What is measured on."""
    yield {**versions(), "cores": len(os.sched_getaffinity(0))}


def s1(options: Options) -> Iterator[Record]:
    """Candidates of S1 a second by precision and processes, and whether these change a bit."""
    for precision in options.precisions:
        config = options.config("space=s1", "teacher=resnet110", f"precision={precision}")
        setup, alone = Setup.from_config(config), None
        archs = lineage(setup, config, 2 if options.tiny else 128)
        for workers in (1, 2) if options.tiny else (1, 4, 8, 16):
            measured, seconds = scored(setup.scorer, archs, workers)
            parts = [each.parts for each in measured]
            alone = alone or parts
            yield {
                "precision": precision,
                "workers": workers,
                "candidates_per_second": len(archs) / seconds,
                "failed": sum(bool(each.failures) for each in measured),
                "bits_of_one_process": parts == alone,
            }


def first(options: Options) -> Iterator[Record]:
    """Seconds from the start of a search to its first candidate."""
    with TemporaryDirectory() as folder:
        words = [f"device={options.device}", "strategy.evaluations=20", f"hydra.run.dir={folder}"]
        words += ["teacher=none", "proxy=params", *options.small] if options.tiny else []
        journal, started = Path(folder) / CandidateRecord.file, time.perf_counter()
        command = [sys.executable, "-m", "diswot.search", *words]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as search:
            while search.poll() is None and not (journal.exists() and journal.stat().st_size):
                time.sleep(0.01)
            seconds = time.perf_counter() - started
            search.terminate()
        if not journal.exists():
            raise RuntimeError(f"the search ended with {search.returncode}")
    yield {"seconds": seconds}


def cells(options: Options) -> Iterator[Record]:
    """The live cells of NAS-Bench-201 by the recommended score; a line every thousand."""
    config = options.config("space=nasbench201", "teacher=none", "proxy=[recommended]")
    setup, workers = Setup.from_config(config), worker_count(config)
    archs = [cell for cell in setup.space.enumerate() if is_live(str(cell))]
    archs = archs[-3:] if options.tiny else archs
    with scoring_pool(setup.scorer, workers) as measure:
        failed, started = 0, time.perf_counter()
        for count, each in enumerate(measure(archs), 1):
            failed += bool(each.failures)
            if count % 1000 == 0 or count == len(archs):
                seconds = time.perf_counter() - started
                yield {"workers": workers, "cells": count, "failed": failed, "seconds": seconds}


def s0(options: Options) -> Iterator[Record]:
    """How scores of S0 on the device rank its networks, beside those of the CPU."""
    scores: list[dict[str, list[float]]] = []
    for device in ("cpu", options.device):
        config = options.config("space=s0", "teacher=resnet56", "proxy=[recommended,diswot,nwot]")
        setup = Setup.from_config({**config, "device": device})
        archs = list(setup.space.enumerate())[: 3 if options.tiny else None]
        measured, _ = scored(setup.scorer, archs, worker_count(config))
        parts = {name: [each.parts[name] for each in measured] for name in setup.proxies}
        scores.append({name: setup.proxies[name].fitness(parts[name]) for name in parts})
    for name, here in scores[0].items():
        rho = spearmanr(here, scores[1][name]).statistic
        yield {"proxy": name, "networks": len(here), "spearman": float(rho)}


def _training(options: Options, *words: str) -> Record:
    """An epoch of ResNet-56 → ResNet-20 after one that is not counted."""
    short = [*options.small, "student=resnet8", "teacher=resnet8"] if options.tiny else []
    images, batches = (64, 1) if options.tiny else (12_800, 200)
    with TemporaryDirectory() as folder:
        config = settings(Path(folder), options.device, *words, *short, images=images)
        run = Lightning(config, batches)
        run()
        seconds, _ = run()
    size = config["data"]["batch_size"]
    chosen = dict(word.split("=", 1) for word in words)
    return {**chosen, "batch_size": size, "images_per_second": batches * size / seconds}


def train(options: Options) -> Iterator[Record]:
    """Images a second by where the images lie, precision, and whether logits are stored."""
    for views in (1,) if options.tiny else (0, 1):
        for precision in options.precisions:
            for resident in ("false", "true"):
                words = [f"data.resident={resident}", f"precision={precision}"]
                yield _training(options, *words, f"protocol.teacher_cache.views={views}")


def compiled(options: Options) -> Iterator[Record]:
    """The quickest of these, and the student as CUDA graphs."""
    for precision in options.precisions:
        words = ["data.resident=true", f"precision={precision}", "protocol.teacher_cache.views=1"]
        yield _training(options, *words, "protocol.compile=reduce-overhead")


Step = Callable[[Options], Iterator[Record]]

STEPS: dict[Step, float] = {
    **{machine: 60, s1: 420, first: 90, cells: 420},
    **{s0: 120, train: 400, compiled: 240},
}
"""Seconds that each may take, below half an hour in all."""


def limited(step: Step, options: Options, limit: float) -> Iterator[Record]:
    """The records of a step in a process of its own, which is killed when its time is over.

    It is forked, which saves the imports: this process must never touch CUDA.
    """
    context, deadline = get_context("fork"), time.monotonic() + limit
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_sent, args=(theirs, step, options))
    process.start()
    theirs.close()
    try:
        while ours.poll(max(0.0, deadline - time.monotonic())):
            yield ours.recv()
        yield {"stopped": f"after {limit:g} s"}
    except EOFError:
        pass
    finally:
        process.kill()
        process.join()


def _sent(connection: Connection, step: Step, options: Options) -> None:
    try:
        for record in step(options):
            connection.send(record)
    except Exception as error:
        connection.send({"error": f"{type(error).__name__}: {error}"})


def main() -> int:
    """Run the steps; 1 where one of them did not end by itself."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("gpu.jsonl"))
    names = [step.__name__ for step in STEPS]
    parser.add_argument("--steps", nargs="+", choices=names, default=names)
    args = parser.parse_args()
    whole = True
    with args.out.open("a", encoding="utf-8") as file:
        for step, limit in STEPS.items():
            if step.__name__ not in args.steps:
                continue
            for record in limited(step, Options(args.device, args.tiny), limit):
                whole &= not record.keys() & {"stopped", "error"}
                line = json.dumps({"step": step.__name__, **record})
                print(line, flush=True)
                file.write(f"{line}\n")
                file.flush()
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())
