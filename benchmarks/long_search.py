"""Whether a long search stays as fast and as small as it began; draws docs/flat-memory.png.

Usage: python benchmarks/long_search.py WORK [--params N] [--nwot N] [--figure FILE]

Two random searches in WORK, which must be new, by the real command with two workers: one by
`params`, which runs no network, so that only the search itself is measured; one by `nwot` on small
networks of S1. Several times a second the candidates in the journal are counted, and CPU seconds
and resident memory of the search and of its workers are read (Linux). Then the finished search is
started again, and once more with ten more evaluations. A number of 0 leaves a search out.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.stats import linregress
from scipy.stats import t as student_t

ROOT = Path(__file__).parents[1]
SMALL = ["space.max_depth=2", "space.max_stem=16", "space.max_widths=[16,24,32]"]
SEARCHES = {"params": [], "nwot": [*SMALL, "space.kernels=[3]"]}
WORKERS = {"params": 0, "nwot": 2}  # what needs no network is counted in the search itself
MOMENTS = 20  # of a search, in the figure


class Sample(NamedTuple):
    """Of a search so far: candidates, CPU seconds; MiB resident in it and in all its workers."""

    candidates: int
    cpu: float
    search: float
    workers: float


def command(name: str, evaluations: int, folder: Path) -> list[str]:
    """The command line of a search."""
    words = ["space=s1", "teacher=none", "budget=none", f"proxy=[{name}]", *SEARCHES[name]]
    words += ["strategy=random", f"strategy.evaluations={evaluations}", "workers=2"]
    return [sys.executable, "-m", "diswot.search", *words, f"hydra.run.dir={folder}"]


def resident(pid: int) -> float:
    """MiB."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    (line,) = (line for line in lines if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def children(pid: int) -> list[int]:
    """Its workers, whichever thread started them."""
    files = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for file in files for child in file.read_text(encoding="utf-8").split()]


def watch(words: list[str], folder: Path, workers: int) -> list[Sample]:
    """Run a search and look at it while it and its workers run."""
    journal, samples, count, read = folder / "candidates.jsonl", list[Sample](), 0, 0
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            time.sleep(0.2)
            if not journal.exists():
                continue
            with journal.open("rb") as file:
                file.seek(read)
                fresh = file.read()
            count, read = count + fresh.count(b"\n"), read + len(fresh)
            with suppress(OSError, ValueError):  # it has just ended
                pids = children(process.pid)
                clocks = [time.clock_gettime((~pid << 3) | 2) for pid in (process.pid, *pids)]
                memory = resident(process.pid), sum(map(resident, pids))
                new = count > (samples[-1].candidates if samples else 0)  # not while it ends
                if new and len(pids) == workers:
                    samples.append(Sample(count, sum(clocks), *memory))
    assert process.returncode == 0, f"{' '.join(words)} ended with {process.returncode}"
    return samples


def spent(words: list[str]) -> tuple[float, float]:
    """Seconds of a command by the clock, and of the CPU."""
    before, started = getrusage(RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(words, stdout=subprocess.DEVNULL, check=True)
    wall, after = time.perf_counter() - started, getrusage(RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def course(samples: list[Sample]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """At equal distances: candidates so far, CPU ms of each since the last, MiB altogether."""
    count, cpu, search, workers = np.array(samples).T
    places = np.linspace(count[0], count[-1], MOMENTS + 1)
    each = 1e3 * np.diff(np.interp(places, count, cpu)) / np.diff(places)
    return places[1:], each, np.interp(places[1:], count, search + workers)


def slope(count: np.ndarray, values: np.ndarray) -> str:
    """Growth with a thousand candidates, of means at equal distances, with its 95 % interval."""
    line = linregress(count / 1e3, values)
    half = student_t.ppf(0.975, len(count) - 2) * line.stderr
    return f"{line.slope:.4f} ({line.slope - half:.4f} to {line.slope + half:.4f})"


def report(name: str, samples: list[Sample], folder: Path) -> None:
    """Print the figures of one search, and start it again."""
    count, each, memory = course(samples)
    tenth = MOMENTS // 10
    total = (folder / "candidates.jsonl").read_bytes()
    evaluations = total.count(b"\n")
    first, last = each[:tenth].mean(), each[-tenth:].mean()
    print(f"{name}: {evaluations:,} candidates, journal of {len(total) / 2**20:.2f} MiB")
    print(f"  CPU ms a candidate: {first:.2f} in the first tenth, {last:.2f} in the last")
    middle, largest = np.interp(evaluations / 2, count, memory), max(s.search for s in samples)
    print(f"  MiB of all processes: {memory[tenth - 1]:.0f} after a tenth, {middle:.0f} after")
    print(f"  half, {memory[-1]:.0f} at the end; at most {largest:.0f} of the search alone")
    growth = [slope(count[tenth:], values[tenth:]) for values in (memory, each)]
    print("  growth with a thousand more, after the first tenth: {} MiB, {} ms".format(*growth))
    again = spent(command(name, evaluations, folder))
    longer = spent(command(name, evaluations + 10, folder))
    print("  started again {:.1f} s ({:.1f} s of CPU),".format(*again), end=" ")
    print("with ten evaluations more {:.1f} s ({:.1f} s of CPU)".format(*longer), flush=True)


def draw(searches: dict[str, list[Sample]], file: Path) -> None:
    """Seconds a candidate and memory over the course of both searches."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, samples in searches.items():
        count, each, memory = course(samples)
        left.plot(100 * count / count[-1], each, marker=".", label=name)
        right.plot(100 * count / count[-1], memory, marker=".", label=name)
    left.set(yscale="log", ylim=(0.1, 1000), ylabel="CPU milliseconds a candidate")
    right.set(ylim=(0, None), ylabel="MiB resident, search and its workers")
    for axes in (left, right):
        axes.set_xlabel("candidates so far, %")
        axes.legend()
    figure.savefig(file, dpi=110)


def main() -> None:
    """Search, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--params", type=int, default=10_000)
    parser.add_argument("--nwot", type=int, default=1_500)
    parser.add_argument("--figure", type=Path, default=ROOT / "docs" / "flat-memory.png")
    given = parser.parse_args()
    searches = {}
    for name in (name for name in SEARCHES if getattr(given, name)):
        folder = given.work.resolve() / name
        folder.parent.mkdir(parents=True, exist_ok=True)
        assert not folder.exists(), f"{folder} is there already"
        searches[name] = watch(command(name, getattr(given, name), folder), folder, WORKERS[name])
        report(name, searches[name], folder)
    print(f"torch {torch.__version__}")
    draw(searches, given.figure)


if __name__ == "__main__":
    main()
