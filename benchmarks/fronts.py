"""How large a Pareto front each strategy finds in as many evaluations.

Usage: python benchmarks/fronts.py [--seeds N] [--cost flops] [SETTING=VALUE ...]

Settings are those of ``diswot search``; by default S1 is searched by ``sqrt_params``, which needs
no network, against MACs. A front is worth the area it dominates (hypervolume, by pymoo): scores and
costs are shares of the ranges over all candidates of a seed, measured from a corner that is a tenth
worse than the worst. Printed are mean and standard deviation over the seeds, and each seed's.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from pymoo.indicators.hv import HV

from diswot.commands import compose
from diswot.runs import read_table
from diswot.search import run_search

STRATEGIES = ("nsga2", "evolution", "aging_evolution", "random")
SMALL = ("space=s1", "teacher=resnet110", "proxy=[sqrt_params]", "teacher_images=0", "workers=1")


def areas(fronts: Mapping[str, Sequence[tuple[float, float]]]) -> dict[str, float]:
    """The area that some points of (score, cost) dominate, by the strategy that found them."""
    points = {name: np.array([(-score, cost) for score, cost in f]) for name, f in fronts.items()}
    every = np.concatenate(list(points.values()))
    low, high = every.min(axis=0), every.max(axis=0)
    corner = HV(ref_point=np.array([1.1, 1.1]))
    return {name: float(corner((own - low) / (high - low))) for name, own in points.items()}


def main(argv: Sequence[str] | None = None) -> None:
    """Search and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cost", default="flops")
    given, words = parser.parse_known_args(argv)
    found: dict[str, list[float]] = {name: [] for name in STRATEGIES}
    for seed in range(given.seeds):
        fronts = {}
        for name in STRATEGIES:
            own = [f"strategy.objectives=[fitness,{given.cost}]"] if name == "nsga2" else []
            settings = [*SMALL, f"strategy={name}", f"seed={seed}", *own, *words]
            with TemporaryDirectory() as folder:
                run_search(compose("search", settings, None), Path(folder), quiet=True)
                table = read_table(Path(folder, "candidates.csv"))
            fronts[name] = list(zip(table["score"], table[given.cost], strict=True))
        for name, area in areas(fronts).items():
            found[name].append(area)
    for name, own in found.items():
        spread = statistics.stdev(own) if len(own) > 1 else 0.0
        each = " ".join(f"{area:.3f}" for area in own)
        print(f"{name:16} {statistics.mean(own):.3f} ± {spread:.3f}  ({each})")


if __name__ == "__main__":
    main()
