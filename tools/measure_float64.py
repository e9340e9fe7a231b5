"""Whether float32 ranks as float64 does: ``python tools/measure_float64.py WORK [SPACE...]``.

Every proxy scores forty architectures of each of `SPACES` twice, from the same weights and images:
as all scores are computed, and with both networks and the images in float64. Runs in WORK (for
hours on two cores; a second start goes on where the first one ended), then stores
experiments/proxies/float64.csv, of which ``make docs`` makes a table; what the file holds of
other spaces stays.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pandas as pd
import torch
from measure_proxies import STORE
from torch import nn

from diswot.accuracies import benchmark_of
from diswot.commands import compose
from diswot.data import MiniBatch
from diswot.proxies.base import Proxy
from diswot.scoring.runtime import Runtime
from diswot.scoring.scorer import Scorer, summarize_teacher
from diswot.scoring.setup import Setup

COUNT = 40
_SMALL = ["data.image_size=16", "data.batch_size=16"]
_LARGER = ["data.image_size=32", "data.batch_size=8"]
SPACES = {
    "s0": _SMALL,
    "nasbench201": [*_SMALL, "benchmark.cells=live"],
    "s1": ["data.image_size=16", "data.batch_size=8"],
    "s2": _LARGER,
    "pit": _LARGER,
    "autoformer": _LARGER,
    "timm": [*_LARGER, "teacher=timm"],
}
"""The settings of every space, with fewer and smaller images than a search's."""

Line = dict[str, Any]


class Float64(Runtime):
    """Forward passes in float64, of networks and images that were made in float32."""

    def place(self, network: nn.Module) -> nn.Module:
        """In float64, convolution weights in channels_last."""
        return super().place(network.double())

    def place_batch(self, batch: MiniBatch) -> MiniBatch:
        """In float64, images in channels_last."""
        placed = super().place_batch(batch)
        return MiniBatch(placed.images.double(), placed.labels)


def setup_of(space: str) -> Setup:
    """Everything that the scores are a function of, as a search's."""
    words = [word for word in SPACES[space] if not word.startswith("benchmark.")]
    config = compose("search", [f"space={space}", "proxy=all", *words], None)
    return Setup.from_config({**config, "device": "cpu"})


def archs_of(space: str, setup: Setup) -> list[str]:
    """Architectures of the space's table, or drawn ones, without repetition."""
    if space != "s2":
        words = [word for word in SPACES[space] if word.startswith("benchmark.")]
        words = [f"space={space}", f"benchmark.sample={COUNT}", *words]
        return list(benchmark_of(compose("rank", words, None)).select(0))
    rng, drawn = Random(0), dict[str, None]()
    while len(drawn) < COUNT:
        drawn[str(setup.space.sample(rng))] = None
    return list(drawn)


def in_float64(setup: Setup) -> Scorer:
    """The setup's scorer with everything in float64, its teacher's weights the same."""
    runtime, scorer, teacher = Float64(), setup.scorer, {}
    if setup.teacher_network is not None:
        teacher = summarize_teacher(setup.teacher_network, setup.proxies, scorer.batch, runtime)
    return replace(scorer, runtime=runtime, teacher=teacher)


def measure(space: str, setup: Setup, work: Path) -> list[Line]:
    """What both scorers give of every architecture; a line is appended for each that is left."""
    file = work / f"{space}.jsonl"
    lines = [json.loads(text) for text in file.read_text().splitlines()] if file.exists() else []
    known = {(line["arch"], line["precision"]) for line in lines}
    scorers = {"float32": setup.scorer, "float64": in_float64(setup)}
    memories = {name: scorer.memory() for name, scorer in scorers.items()}
    with file.open("a", encoding="utf-8") as out:
        for arch in archs_of(space, setup):
            for precision, scorer in scorers.items():
                if (arch, precision) in known:
                    continue
                measured = scorer.measure(setup.space.parse(arch), memories[precision])
                line = {"arch": arch, "precision": precision, "parts": measured.parts}
                line |= {"failures": measured.failures, "seconds": measured.seconds}
                lines.append(line)
                out.write(json.dumps(line) + "\n")
                out.flush()
    return lines


def compared(space: str, proxies: dict[str, Proxy], lines: list[Line]) -> Iterator[dict[str, Any]]:
    """A row a proxy: agreement of the ranks, and how far apart the scores are."""
    for name, proxy in proxies.items():
        parts = {
            precision: {line["arch"]: line["parts"].get(name) for line in of_precision}
            for precision in ("float32", "float64")
            if (of_precision := [line for line in lines if line["precision"] == precision])
        }
        failed = {key: sum(each is None for each in known.values()) for key, known in parts.items()}
        archs = [arch for arch in parts["float32"] if all(each[arch] for each in parts.values())]
        single, double = (
            pd.Series(proxy.fitness([parts[key][arch] for arch in archs]), dtype=np.float64)
            for key in ("float32", "float64")
        )
        apart = ((single - double).abs() / double.abs().where(double != 0)).fillna(0.0)
        yield {
            "space": space,
            "proxy": name,
            "n": len(archs),
            "failed_float32": failed["float32"],
            "failed_float64": failed["float64"],
            "spearman": single.rank().corr(double.rank()),
            "kendall": single.corr(double, method="kendall"),
            "median_difference": None if proxy.relative else apart.median(),
            "largest_difference": None if proxy.relative else apart.max(),
            "torch": torch.__version__,
        }


def main() -> None:
    """Measure what is left, then store."""
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    work, store = Path(sys.argv[1]).resolve(), STORE / "float64.csv"
    work.mkdir(parents=True, exist_ok=True)
    for space in sys.argv[2:] or SPACES:
        setup = setup_of(space)
        rows = pd.DataFrame(compared(space, dict(setup.proxies), measure(space, setup, work)))
        stored = pd.read_csv(store) if store.exists() else pd.DataFrame({"space": []})
        tables = {**dict(iter(stored.groupby("space"))), space: rows}
        table = pd.concat([tables[name] for name in SPACES if name in tables])
        table.to_csv(store, index=False, lineterminator="\n", float_format="%.6g")


if __name__ == "__main__":
    main()
