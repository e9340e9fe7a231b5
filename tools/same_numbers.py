"""Runs four jobs at two commits and compares every number they give, bit for bit.

``python tools/same_numbers.py BEFORE [AFTER]`` needs the packages of the current environment. It
searches all of S0 and sixty candidates of S1, ranks five proxies on S0 and distils for two epochs;
what depends on the clock is left out. Exit code 1 where anything differs.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

_JOBS = {
    "s0": "search space=s0 strategy=exhaustive teacher=resnet56",
    "s1": "search space=s1 teacher=resnet110 budget.flops=null strategy.evaluations=60",
    "rank": "rank space=s0 proxy=[diswot,nwot,effective_rank,synflow,snip]",
    "train": "train student=resnet8 teacher=resnet20 teacher.weights=embedded distiller=kd "
    "protocol.max_epochs=2",
}
_CLOCK = ("seconds", "images_per_second", "crc32")  # a line's sum is of its seconds too


def main() -> int:
    """Compare two commits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before")
    parser.add_argument("after", nargs="?", default="HEAD")
    arguments = parser.parse_args()
    before, after = _numbers(arguments.before), _numbers(arguments.after)
    for job in _JOBS:
        same = before[job] == after[job]
        sys.stdout.write(f"{job}: {len(before[job])} values, {'equal' if same else 'DIFFERENT'}\n")
        for key in () if same else sorted({*before[job], *after[job]}):
            if before[job].get(key) != after[job].get(key):
                sys.stdout.write(f"  {key}: {before[job].get(key)} → {after[job].get(key)}\n")
    return int(before != after)


def _numbers(commit: str) -> dict[str, dict[str, Any]]:
    """What every job gives at a commit, value by value."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        tree = root / "tree"
        subprocess.run(["git", "worktree", "add", "--detach", tree, commit], check=True)
        try:
            return {name: _run(tree, words, root / name) for name, words in _JOBS.items()}
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", tree], check=True)


def _run(tree: Path, words: str, run: Path) -> dict[str, Any]:
    if not (tree / "conf/protocol").is_dir():
        words = words.replace("protocol.", "trainer.")
    command, *settings = words.split()
    path = os.pathsep.join([str(tree / "src"), os.environ.get("PYTHONPATH", "")])
    subprocess.run(
        [sys.executable, "-m", f"diswot.{command}", *settings, f"hydra.run.dir={run}"],
        check=True,
        cwd=run.parent,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.DEVNULL,
    )
    found: dict[str, Any] = {}
    for file in ("candidates.jsonl", "scores.jsonl", "epochs.jsonl"):
        lines = (run / file).read_text().splitlines() if (run / file).exists() else []
        for number, line in enumerate(lines):
            _flatten(f"{file}:{number}", json.loads(line), found)
    if (run / "rank.csv").exists():
        for row in csv.DictReader((run / "rank.csv").read_text().splitlines()):
            _flatten(f"rank.csv:{row['target']}:{row['proxy']}", row, found)
    if (run / "student.safetensors").exists():
        digest = hashlib.sha256((run / "student.safetensors").read_bytes()).hexdigest()
        found["student.safetensors"] = digest
    return found


def _flatten(name: str, value: Any, found: dict[str, Any]) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            if not key.startswith(_CLOCK):
                _flatten(f"{name}.{key}", inner, found)
    else:
        found[name] = value


if __name__ == "__main__":
    sys.exit(main())
