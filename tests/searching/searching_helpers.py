"""Small searches, run in this process."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from diswot.commands import compose
from diswot.search import run_search

Json = dict[str, Any]

CHEAP = [
    *("space=s0", "space.depths=[1,2,3]", "teacher=none", "proxy=[params,random]"),
    *("data=gaussian", "data.batch_size=4", "device=cpu", "workers=1"),
    *("strategy=random", "strategy.evaluations=20", "strategy.generation=5"),
]
"""No network is ever run."""

REAL = [
    *("space=s0", "space.depths=[1,2,3]", "teacher=resnet8", "proxy=diswot"),
    *("device=cpu", "workers=1"),
    *("data=gaussian", "data.batch_size=6", "data.image_size=8", "data.num_classes=4"),
    *("strategy.evaluations=23", "strategy.generation=5"),
    *("strategy.population=8", "strategy.sample=4", "budget=none"),
]
"""Real scores against a teacher, by evolution, with repeats."""


def configured(base: Sequence[str], *overrides: str) -> Json:
    return compose("search", [*base, *overrides], None)


def journal(path: Path) -> list[Json]:
    lines = (path / "candidates.jsonl").read_text().splitlines()
    return [
        {k: v for k, v in json.loads(line).items() if k not in ("seconds", "crc32")}
        for line in lines
    ]


def outcome(path: Path) -> tuple[list[Json], Json]:
    """Journal and result of a finished search, without times."""
    result = json.loads((path / "result.json").read_text())
    timed = {"seconds", "candidates_per_second"}
    return journal(path), {key: value for key, value in result.items() if key not in timed}


def searched(path: Path, config: Json) -> tuple[list[Json], Json]:
    summary = asdict(run_search(config, path, quiet=True))
    assert json.loads((path / "result.json").read_text()) == json.loads(json.dumps(summary))
    return outcome(path)
