"""The command line, in this process where that is honest enough, else in one of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Json = dict[str, Any]

CHEAP = [
    *("space=s0", "teacher=none", "proxy=[params,random]", "data=gaussian", "data.batch_size=4"),
    *("strategy=random", "strategy.evaluations=20", "device=cpu", "workers=1"),
]
"""No network is ever run."""

SLOW = [
    *("space=s0", "teacher=resnet8", "data=gaussian", "data.batch_size=12"),
    *("strategy.evaluations=45", "strategy.population=10", "strategy.sample=5"),
    *("strategy.generation=5", "device=cpu", "workers=2"),
]
"""Some seconds, with two workers."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


def environment(**further: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", **further}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "diswot.search", *arguments]


def started(cwd: Path, *arguments: str, **env: str) -> subprocess.Popen[str]:
    """A search of its own process group, as a terminal starts it."""
    return subprocess.Popen(
        command(*arguments),
        cwd=cwd,
        env=environment(**env),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=_heed_ctrl_c,  # noqa: PLW1509 (no threads here)
    )


def _heed_ctrl_c() -> None:
    """Tests that run in the background inherit that Ctrl-C is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def ran(cwd: Path, *arguments: str, **env: str) -> Ended:
    with started(cwd, *arguments, **env) as process:
        out, err = process.communicate(timeout=120)
    return Ended(process.returncode, out, err)


def journal(path: Path) -> list[Json]:
    lines = (path / "candidates.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def outcome(path: Path) -> tuple[list[Json], Json]:
    """Journal and result, without times."""
    result = json.loads((path / "result.json").read_text())
    return journal(path), {
        k: v for k, v in result.items() if k not in ("seconds", "candidates_per_second")
    }


def whole_lines(path: Path) -> int:
    """Candidates journaled so far by a live search."""
    file = path / "candidates.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0
