"""What architectures score when trained, from sources that no run can choose."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from diswot.errors import UserError
from diswot.runs import Run

__all__ = ["Known", "known_accuracies"]

_NAME = re.compile(r"[\w.-]{1,64}", re.ASCII)


@dataclass(frozen=True)
class Known:
    """Accuracies of a space.

    Attributes:
        label: Data set and target; empty where nothing is known.
        source: Where they were read.
        accuracy: Top-1 in percent, by architecture.
        problem: Why nothing is known.
    """

    label: str = ""
    source: str = ""
    accuracy: Mapping[str, float] = field(default_factory=dict)
    problem: str = ""


def known_accuracies(run: Run) -> Known:
    """The distilled accuracies, else the first there are, of the space of a search.

    A config is data: a benchmark's file that it names may be a pickle, which runs code. Only what
    this package's own config of the benchmark finds is read; of the run's config only the
    settings of its space are looked at, to see whether the accuracies hold.
    """
    space = run.config.get("space")
    name = space.get("name") if isinstance(space, Mapping) else None
    if not isinstance(space, Mapping) or not isinstance(name, str):
        return Known(problem="its config names no space")
    known, holds_for = _of_space(name)
    for key, value in holds_for.items():
        if space.get(key, value) != value:
            return Known(problem=f"accuracies are known for space.{key}={value} only")
    return known


@cache
def _of_space(name: str) -> tuple[Known, Mapping[str, object]]:
    """What is known of a space, and the settings with which it holds."""
    from omegaconf import OmegaConf

    from diswot.accuracies import Benchmark
    from diswot.config import conf_dir, make

    file = conf_dir() / "benchmark" / f"{name}.yaml"
    if not _NAME.fullmatch(name) or not file.is_file():
        return Known(problem=f"there is no benchmark of space {name[:64]}"), {}
    node = OmegaConf.to_container(OmegaConf.load(file))
    try:
        benchmark = make(node, "benchmark", Benchmark)  # type: ignore[arg-type, type-abstract]
        entries = benchmark.entries()
        chosen = next((entry for entry in entries if entry[1] == "distilled"), entries[0])
        found = {arch: benchmark.lookup(arch, *chosen) for arch in benchmark.archs()}
    except (UserError, OSError) as error:
        return Known(problem=str(error)), {}
    return Known(", ".join(chosen), benchmark.source, found), benchmark.holds_for
