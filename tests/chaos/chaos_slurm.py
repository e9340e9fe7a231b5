"""Kills on a Slurm of this machine's own: jobs of a sweep, and one of a training's two tasks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random

from chaos_runs import differing, left, prepared, words
from chaos_trials import Tally
from slurm_helpers import Cluster, running_slurm, until

_LAUNCHER = ("hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=null")
_SEEDS = "seed=0,1"


def processes(cluster: Cluster, text: str) -> list[int]:
    """Pythons of the cluster's jobs that have a text in their command lines."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            line, own = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()
            is_job = f"SLURM_CONF={cluster.env['SLURM_CONF']}".encode() in own
            if is_job and b"SLURM_PROCID=" in own and line.split(b"\0")[0].endswith(b"python"):
                found += [int(folder.name)] * (text.encode() in line)
    return sorted(found)


def killed_jobs(root: Path, count: int, rng: Random) -> Iterator[Tally]:
    """Kill jobs of a sweep at random, and give the sweep again until it has finished."""
    prepared(root)
    tally = Tally("sweep under Slurm", "random kills of jobs")
    command, *settings = words("search", root)[:-1]
    sweep = [*settings, _SEEDS, "hydra.sweep.dir=runs"]
    (root / "plain").mkdir()
    argv = [sys.executable, "-m", f"diswot.{command}", "-m", *sweep]
    subprocess.run(argv, cwd=root / "plain", check=True, stdout=subprocess.DEVNULL)
    whole = _runs(root / "plain")
    with running_slurm() as cluster:
        while tally.faults < count:
            folder = root / f"sweep-{tally.finished}"
            folder.mkdir()
            code = 2
            while code == 2:
                code = _swept(cluster, folder, [*sweep, *_LAUNCHER], tally, rng)
            tally.finished += 1
            if code:
                tally.problems.append(f"exit code {code}")
            if others := differing(_runs(folder), whole):
                tally.problems.append(f"{', '.join(others)} differ in {folder}")
            yield tally


def _swept(cluster: Cluster, folder: Path, sweep: list[str], tally: Tally, rng: Random) -> int:
    """Give the sweep once, and kill one of its jobs."""
    argv = [sys.executable, "-m", "diswot.search", "-m", "hydra/launcher=slurm", *sweep]
    with (folder / "out").open("a") as out:
        process = subprocess.Popen(argv, cwd=folder, env=cluster.env, stdout=out, stderr=out)
        while process.poll() is None and not processes(cluster, "submitit"):
            time.sleep(0.2)
        before = len(list(folder.rglob("candidates.jsonl")))
        while process.poll() is None and len(list(folder.rglob("candidates.jsonl"))) == before:
            time.sleep(0.1)  # until a job has begun to score
        time.sleep(rng.uniform(0, 5))
        if jobs := processes(cluster, "submitit"):
            with suppress(ProcessLookupError):
                os.kill(rng.choice(jobs), signal.SIGKILL)
                tally.faults += 1
        return process.wait()


def _runs(folder: Path) -> dict[str, object]:
    """What is left in the runs of a sweep."""
    found = sorted(file.parent for file in folder.rglob("candidates.jsonl"))
    return {f"{run.name}/{name}": value for run in found for name, value in left(run).items()}


def ended_tasks(root: Path, count: int, rng: Random) -> Iterator[Tally]:
    """End a training of two tasks after some epochs, and start it again.

    By turns one of the tasks is killed, and the node fails.
    """
    prepared(root)
    tally = Tally("two tasks under Slurm", "kills of a task and failures of the node, in turn")
    with running_slurm() as cluster:
        for name in ["whole", *map(str, range(count))]:
            folder = root / f"tasks-{name}"
            folder.mkdir()
            if name != "whole":
                end = _fail_node if int(name) % 2 else partial(_kill_task, rng=rng)
                _trained(cluster, folder, rng.randrange(1, 3), end)
                tally.faults += 1
                text = folder.with_suffix(".out").read_text()
                if text.count("another process of this training") > 1 or "Traceback" in text:
                    tally.problems.append(f"no single message, see {folder}.out")
            if code := _trained(cluster, folder):
                tally.problems.append(f"exit code {code}, see {folder}.out")
            elif others := differing(left(root / "tasks-whole"), left(folder)):
                tally.problems.append(f"{', '.join(others)} differ in {folder}")
            tally.finished += name != "whole"
            yield tally


def _trained(
    cluster: Cluster, folder: Path, epochs: int = 99, end: Callable[[Cluster], object] = repr
) -> int:
    """Train in two tasks, which are ended after some epochs; gives srun's exit code."""
    tasks = ["srun", "--ntasks=2", "--ntasks-per-node=2", "--kill-on-bad-exit=1", sys.executable]
    argv = [*tasks, "-m", "diswot.train", *words("processes", folder.parent)[1:]]
    with folder.with_suffix(".out").open("a") as out:
        process = subprocess.Popen(argv, cwd=folder, env=cluster.env, stdout=out, stderr=out)
        while process.poll() is None and _lines(folder) < epochs:
            time.sleep(0.05)
        if process.poll() is None:
            end(cluster)
        return process.wait()


def _kill_task(cluster: Cluster, rng: Random) -> None:
    os.kill(rng.choice(processes(cluster, "diswot.train")), signal.SIGKILL)


def _fail_node(cluster: Cluster) -> None:
    """What Slurm does when a node no longer answers; then the node is back."""
    node = f"nodename={cluster.call('sinfo', '--noheader', '--format=%n').strip()}"
    cluster.call("scontrol", "update", node, "state=down", "reason=chaos")
    until(lambda: not processes(cluster, "diswot.train"), 120, "tasks go on")
    cluster.call("sh", "-c", f"scontrol update {node} state=resume || true")  # maybe it is back
    until(lambda: "idle" in cluster.call("sinfo", "-h", "-o", "%T"), 120, "the node stays down")


def _lines(folder: Path) -> int:
    file = folder / "run/epochs.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0
