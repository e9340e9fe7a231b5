"""Disturbs real runs and compares what they leave: ``python tests/chaos``, see --help.

Ends with 1 where a run that was disturbed is not equal to the undisturbed one, and leaves it.
"""

import argparse
import errno
import os
import shutil
import sys
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

sys.path.append(str(Path(__file__).parents[1] / "slurm"))

from chaos_slurm import ended_tasks, killed_jobs
from chaos_trials import Runs, Tally, failed_in_place, killed_at_random, killed_in_place
from slurm_helpers import PATH, PROGRAMS

_SHARES = {"search": 0.35, "rank": 0.25, "train": 0.25, "race": 0.1, "processes": 0.05, "probe": 0}
"""Of the random kills, by what `chaos_runs` calls the commands."""

_ALONE = ("processes",)
"""They write in processes of their own, where no fault can be placed."""

_CLUSTER = {"sweep": killed_jobs, "tasks": ended_tasks}

_HAS_SLURM = all(shutil.which(name, path=PATH) for name in PROGRAMS)

Trials = Iterator[Tally]


def parts(runs: Runs, options: argparse.Namespace) -> dict[str, Trials]:
    """The trials of a command by part."""
    rng, each = Random(f"{options.seed} {runs.name}"), options.each
    count = round(options.kills * _SHARES.get(runs.name, 0))
    kills = {"kills": killed_at_random(runs, count, rng)}
    if runs.name in _ALONE:
        return kills
    return {
        **kills,
        "placed": killed_in_place(runs, each, rng),
        "full": failed_in_place(runs, errno.ENOSPC, each, rng),
        "stays-full": failed_in_place(runs, errno.ENOSPC, each, rng, lasting=True),
        "broken": failed_in_place(runs, errno.EIO, each, rng),
    }


def main() -> int:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(prog="python tests/chaos", description=__doc__)
    names = "kills, placed, full, stays-full, broken, sweep, tasks"
    parser.add_argument("parts", nargs="*", help=f"of {names}; by default all")
    commands = [*_SHARES]
    parser.add_argument(
        "--only", nargs="+", default=commands, choices=commands, help="by default all"
    )
    parser.add_argument("--kills", type=int, default=200, help="random kills over all commands")
    parser.add_argument("--jobs", type=int, default=4, help="kills under Slurm, of each kind; 4")
    parser.add_argument("--each", type=int, default=1, help="of each call on each file; 1")
    parser.add_argument("--seed", type=int, default=0, help="of times and places")
    parser.add_argument("--root", type=Path, help="folder for the runs; a temporary one")
    options = parser.parse_args()
    if unknown := {*options.parts} - {*names.split(", ")}:
        parser.error(f"{', '.join(unknown)}: parts are {names}")
    root = (options.root or Path(tempfile.mkdtemp(prefix="chaos"))).resolve()
    root.mkdir(parents=True, exist_ok=True)
    waiting, done = deque[Trials](), dict[tuple[str, str], Tally]()
    for name in options.only if {*options.parts} - {*_CLUSTER} or not options.parts else ():
        by_part = parts(Runs(name, root), options)
        waiting += [by_part[part] for part in options.parts or by_part if part in by_part]
    for part, ended in _CLUSTER.items():
        if part in options.parts or (not options.parts and _HAS_SLURM):
            (root / part).mkdir()
            waiting.append(ended(root / part, options.jobs, Random(options.seed)))
    with suppress(KeyboardInterrupt):
        while waiting:  # in turn, so that a part of it all says something of each
            trials = waiting.popleft()
            if tally := next(trials, None):
                known = done.setdefault((tally.command, tally.fault), tally)
                sys.stderr.write(f"{known}\n")
                waiting.append(trials)
    wrong = [problem for tally in done.values() for problem in tally.problems]
    sys.stdout.write("".join(f"{tally}\n" for tally in done.values()))
    sys.stdout.write(f"{len(wrong)} problems; {root}\n")
    return int(bool(wrong) or not done)


if __name__ == "__main__":
    sys.exit(main())
