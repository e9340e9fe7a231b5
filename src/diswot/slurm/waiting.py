"""Waits for the jobs of a sweep, whatever becomes of each."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn

__all__ = ["Lost", "Submitted", "ended"]

_OVER = (
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"),
    *("OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"),
)
"""States of jobs that do not run again; a requeued job is pending."""

_GRACE = 10.0  # s that a result may need to be seen from this machine, once its job is over
_ASK = 2.0, 30.0  # s between two questions to Slurm: the shortest, at first, and the longest


class Submitted(Protocol):
    """A job as submitit knows it."""

    @property
    def job_id(self) -> str:
        """Of Slurm, with the place in the array."""

    @property
    def paths(self) -> Any:
        """Where submitit keeps its files."""


@dataclass(frozen=True)
class Lost:
    """A job that left no result.

    Attributes:
        reason: One line.
    """

    reason: str


def ended(jobs: Sequence[Submitted]) -> Iterator[tuple[int, JobReturn | Lost]]:
    """Give every job's number and result, in the order in which they end.

    Only the queue is asked for what became of a job without a result, so no accounting is needed.

    Args:
        jobs: Of one array.
    """
    waiting = dict(enumerate(jobs))
    over: dict[int, float] = {}
    states: dict[str, str] | None = None
    started, asked = time.monotonic(), -_ASK[1]
    while waiting:
        now = time.monotonic()
        if now - asked >= min(_ASK[1], max(_ASK[0], (now - started) / 10)):
            asked, states = now, _states(jobs[0].job_id.partition("_")[0])
            over = _over(waiting, states, over, now)
        for number, job in list(waiting.items()):
            result = _result(job)
            if result is None and now - over.get(number, now) > _GRACE:
                state = (states or {}).get(job.job_id, "gone from the queue")
                result = Lost(f"Slurm job {job.job_id} is {state}; its log: {log_of(job)}")
            if result is not None:
                del waiting[number]
                yield number, result
        if waiting:
            time.sleep(1)


def log_of(job: Submitted) -> Path:
    """What a job printed."""
    return Path(job.paths.stdout)


def _over(
    waiting: dict[int, Submitted],
    states: dict[str, str] | None,
    before: dict[int, float],
    now: float,
) -> dict[int, float]:
    """Since when each job is known to be over; as before where Slurm does not answer."""
    if states is None:
        return before
    return {
        number: before.get(number, now)
        for number, job in waiting.items()
        if states.get(job.job_id, "COMPLETED") in _OVER
    }


def _states(array: str) -> dict[str, str] | None:
    """States by job id; None where Slurm does not answer."""
    command = ["squeue", "--noheader", "--array", "--states=all", "--format=%i %T"]
    try:
        done = subprocess.run(
            [*command, f"--jobs={array}"], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode:
        return {} if "Invalid job id" in done.stderr else None
    return dict(re.findall(r"^\s*(\S+) (\S+)", done.stdout, flags=re.MULTILINE))


def _result(job: Submitted) -> JobReturn | Lost | None:
    """What a job has written, if it has."""
    from submitit.core.utils import pickle_load

    with suppress(OSError):  # a network file system then looks again
        job.paths.folder.chmod(job.paths.folder.stat().st_mode)
    if not job.paths.result_pickle.exists():
        return None
    outcome, result = pickle_load(job.paths.result_pickle)
    if outcome == "error":
        reason = result.strip().rpartition("\n")[2].rpartition("Error: ")[2]
        return Lost(f"{reason} Its log: {log_of(job)}")
    done: JobReturn = result
    return done
