"""Small races, and what is left of them."""

import json
from pathlib import Path
from typing import Any

from diswot.commands import compose
from diswot.config import conf_dir
from diswot.race import run_race
from diswot.runs import RaceSummary

Json = dict[str, Any]

ARCHS = ["s0:1-1-1", "s0:1-1-3", "s0:1-3-1"]
DATA = [
    *("data=gaussian", "data.length=96", "data.batch_size=32", "data.image_size=8"),
    *("protocol.validation=0.2", "device=cpu", "workers=1"),
]
SMALL = [*DATA, "space=s0", f"archs=[{','.join(ARCHS)}]", "rungs=[2,2]", "seeds=2", "images=64"]
TEACHER = ["teacher=resnet8", "teacher.network.widths=[8,8,16,16]"]
"""Fifteen trainings of a few steps; ``teacher.weights`` is left open."""


def raced(path: Path, *overrides: str) -> RaceSummary:
    """Race, or go on with it."""
    return run_race(compose("race", [*SMALL, *overrides], None), path, [conf_dir()], quiet=True)


def journal(path: Path) -> list[Json]:
    """The journal, without times."""
    lines = (path / "race.jsonl").read_text().splitlines()
    return [
        {k: v for k, v in json.loads(line).items() if k not in ("seconds", "crc32")}
        for line in lines
    ]


def left(path: Path) -> tuple[list[Json], bytes, bytes, Json]:
    """Journal, the winner's files and the result, without times."""
    result = json.loads((path / "result.json").read_text())
    for each in [result, *result["contestants"]]:
        del each["seconds"]
    files = [(path / f"student.{kind}").read_bytes() for kind in ("safetensors", "json")]
    return journal(path), files[0], files[1], result
