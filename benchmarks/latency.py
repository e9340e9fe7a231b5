"""How repeatable measured latencies are, and how parameters and MACs rank them.

Usage: python benchmarks/latency.py [--space s1] [--archs N] [SETTING=VALUE ...]

Random architectures inside the budget of a search are measured twice, all of them once and then all
again, as ``latency=measured`` does; settings are those of ``diswot search``. Printed are Spearman's
ρ of the two rounds, the coefficient of variation of the two numbers of an architecture (the mean
over them), the interquartile range of the passes of a measurement, and ρ of the first round with
parameters and MACs; and the load of the machine at the start and at the end.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import spearmanr

from diswot.commands import compose
from diswot.config import make
from diswot.scoring.latency import Latency
from diswot.scoring.setup import Setup
from diswot.strategies import make_strategy


class Round(NamedTuple):
    """Milliseconds of every architecture, and the interquartile ranges as shares of them."""

    ms: list[float]
    spreads: list[float]


def measure(latency: Latency, setup: Setup, archs: Sequence[Any]) -> Round:
    """Measure each once."""
    sizes = {"num_classes": setup.num_classes, "in_channels": setup.data.in_channels}
    ms, spreads = [], []
    for arch in archs:
        image = setup.data.image_shape
        record = latency.of(str(arch), lambda arch=arch: setup.space.build(arch, **sizes), image)
        assert record is not None
        ms.append(record.latency_ms)
        spreads.append((record.spread_ms or 0.0) / record.latency_ms)
    return Round(ms, spreads)


def repeatability(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """Spearman's ρ of two rounds, and the mean coefficient of variation of the pairs (ddof 1)."""
    pairs = np.array([first, second])
    variation = pairs.std(axis=0, ddof=1) / pairs.mean(axis=0)
    return float(spearmanr(first, second).statistic), float(variation.mean())


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--space", default="s1")
    parser.add_argument("--archs", type=int, default=30)
    given, words = parser.parse_known_args(argv)
    overrides = [f"space={given.space}", "teacher=resnet110", "proxy=[params]", *words]
    config = {**compose("search", overrides, None), "device": "cpu"}
    setup = Setup.from_config(config)
    proposals = make_strategy(config, setup).proposals
    archs = [proposals.sample() for _ in range(given.archs)]
    latency, load = make(config["latency"], "latency", Latency), os.getloadavg()[0]
    first, second = (measure(latency, setup, archs) for _ in range(2))
    rho, variation = repeatability(first.ms, second.ms)
    load = f"load {load:.1f} at the start, {os.getloadavg()[0]:.1f} at the end"
    print(f"{len(archs)} architectures of {given.space}, {latency.source}, {load}")
    print(f"from {min(first.ms):.2f} to {max(first.ms):.2f} ms")
    print(f"two rounds: Spearman {rho:.3f}, coefficient of variation {variation:.1%}")
    spread = np.median([*first.spreads, *second.spreads])
    print(f"interquartile range of the passes: {spread:.1%} of their median (median)")
    for name in ("params", "flops"):
        counts = [proposals.costs.count(name, arch) for arch in archs]
        print(f"latency and {name}: Spearman {spearmanr(first.ms, counts).statistic:.3f}")


if __name__ == "__main__":
    main()
