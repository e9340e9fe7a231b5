"""How near scoring is to what one core can do at all; draws docs/speed-limit.png.

Usage: python benchmarks/limit.py [--candidates N] [--rounds N] [--figure FILE]

Random candidates of S1 inside the budget of a search are scored by `diswot`, one thread. Nearly all
their arithmetic is in convolutions: of each candidate the seconds inside them are those of torch's
profiler, their share is of the whole time of the same scoring, and their multiply-accumulates a
second are compared with those of a large product of float32 matrices, taken in turn with the
candidates. All seconds are those of the CPU: the profiler, which reads the clock, is corrected by
the share of the scoring in which this process had a core. Of several rounds the fastest counts.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from torch.profiler import ProfilerActivity, profile

from diswot.commands import compose
from diswot.scoring.scorer import Scorer
from diswot.scoring.setup import Setup
from diswot.strategies import make_strategy

ROOT = Path(__file__).parents[1]
SIZE = 2048  # of the matrices


@dataclass(frozen=True)
class Timed:
    """One scoring of a candidate: MACs of the mini-batch, seconds, and those in convolutions."""

    gmacs: float
    seconds: float
    convolving: float

    @property
    def share(self) -> float:
        """Of the time, what passes inside convolutions."""
        return self.convolving / self.seconds

    @property
    def rate(self) -> float:
        """Billions of multiply-accumulates a second inside convolutions."""
        return self.gmacs / self.convolving


def matrix_rate(size: int = SIZE) -> float:
    """Billions of multiply-accumulates a second of one core in a product of matrices."""
    left, right = torch.rand(2, size, size)
    started = time.process_time()
    torch.mm(left, right)
    return size**3 / 1e9 / (time.process_time() - started)


def timed(scorer: Scorer, arch: Any) -> Timed:
    """Score it under the profiler, nothing remembered of others."""
    memory = scorer.memory()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        started = time.process_time()
        measured = scorer.measure(arch, memory)
        seconds = time.process_time() - started
    assert measured.cost is not None
    assert measured.parts, measured.failures
    convolving = sum(
        event.self_cpu_time_total for event in profiler.key_averages() if "convolution" in event.key
    )
    gmacs = measured.cost.flops * len(scorer.batch.images) / 1e9
    return Timed(gmacs, seconds, convolving / 1e6 * seconds / measured.seconds)


def draw(candidates: list[Timed], limit: float, file: Path) -> None:
    """Seconds over MACs, and the line that the product of matrices gives."""
    figure = Figure(figsize=(6, 4.2), layout="constrained")
    axes = figure.subplots()
    gmacs = [each.gmacs for each in candidates]
    axes.scatter(gmacs, [each.seconds for each in candidates], label="a candidate's whole scoring")
    inside = [each.convolving for each in candidates]
    axes.scatter(gmacs, inside, marker="x", label="inside its convolutions")
    ends = [min(gmacs), max(gmacs)]
    line = [end / limit for end in ends]
    axes.plot(ends, line, color="0.4", label=f"product of matrices, {limit:.0f} GMAC/s")
    axes.set(xscale="log", yscale="log", ylabel="CPU seconds, one core")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("billions of multiply-accumulates, mini-batch of 64")
    axes.legend()
    figure.savefig(file, dpi=110)


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--candidates", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--figure", type=Path, default=ROOT / "docs" / "speed-limit.png")
    given = parser.parse_args()
    torch.set_num_threads(1)
    overrides = ["space=s1", "teacher=resnet110", "proxy=[diswot]"]
    config = {**compose("search", overrides, None), "device": "cpu"}
    setup = Setup.from_config(config)
    proposals = make_strategy(config, setup).proposals
    archs = [proposals.sample() for _ in range(given.candidates)]
    timed(setup.scorer, archs[0])  # the first of all pays for what is loaded late
    rates, best = list[float](), dict[Any, Timed]()
    for _ in range(given.rounds):
        for arch in archs:
            rates.append(matrix_rate())
            now = timed(setup.scorer, arch)
            best[arch] = min(now, best.get(arch, now), key=lambda each: each.seconds)
    candidates, limit = list(best.values()), max(rates)
    inside = sum(each.convolving for each in candidates)
    share = inside / sum(each.seconds for each in candidates)
    rate = sum(each.gmacs for each in candidates) / inside
    print(f"{len(candidates)} candidates of S1, one thread, torch {torch.__version__}")
    print(f"product of matrices: {limit:.1f} GMAC/s at best, {median(rates):.1f} in the median")
    print(f"a candidate: {sum(each.seconds for each in candidates) / len(candidates):.3f} s")
    worst = min(each.share for each in candidates)
    print(f"inside convolutions: {share:.1%} of the time, at least {worst:.1%} of a candidate's")
    slowest = min(each.rate for each in candidates) / limit
    print(f"convolutions: {rate:.1f} GMAC/s, {rate / limit:.1%} of the product of matrices")
    print(f"of the slowest candidate {slowest:.1%}")
    draw(candidates, limit, given.figure)


if __name__ == "__main__":
    main()
