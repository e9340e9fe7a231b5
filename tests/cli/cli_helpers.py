"""The command line, in this process where that is honest enough, else in one of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
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
    *("strategy.evaluations=30", "strategy.population=10", "strategy.sample=5"),
    *("strategy.generation=5", "device=cpu", "workers=2", "budget=none"),
]
"""Some seconds, with two workers."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


Cli = Callable[..., Ended]


def refused(ended: Ended, command: str = "search") -> str:
    """The one message of a refusal."""
    assert ended.code == 2, ended
    assert "Traceback" not in ended.err
    assert ended.err.startswith(f"diswot {command}: ")
    assert ended.err.count(f"diswot {command}: ") == 1
    return ended.err


def environment(**further: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", **further}


def started(cwd: Path, command: str, *words: str, **env: str) -> subprocess.Popen[str]:
    """A command in a process group of its own, as a terminal starts it."""
    return subprocess.Popen(
        [sys.executable, "-m", f"diswot.{command}", *words],
        cwd=cwd,
        env=environment(**env),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Tests that run in the background inherit that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )


def ran(cwd: Path, command: str, *words: str, **env: str) -> Ended:
    with started(cwd, command, *words, **env) as process:
        out, err = process.communicate(timeout=300)
    return Ended(process.returncode, out, err)


def journal(path: Path) -> list[Json]:
    lines = (path / "candidates.jsonl").read_text().splitlines()
    return [
        {k: v for k, v in json.loads(line).items() if k not in ("seconds", "crc32")}
        for line in lines
    ]


def outcome(path: Path) -> tuple[list[Json], Json]:
    """Journal and result, without times."""
    result = json.loads((path / "result.json").read_text())
    timed = ("seconds", "candidates_per_second")
    return journal(path), {key: value for key, value in result.items() if key not in timed}


def whole_lines(path: Path, journal: str = "candidates.jsonl") -> int:
    """Lines journaled so far by a live run."""
    file = path / journal
    return file.read_bytes().count(b"\n") if file.exists() else 0


def wait(process: subprocess.Popen[str], lines: Callable[[], int], least: int) -> None:
    """Wait until a live run has journaled so much."""
    while process.poll() is None and lines() < least:
        time.sleep(0.005)
    assert process.poll() is None, "the run is too fast"
