"""Sweeps on Slurm: checks before submission, signals inside a job, waiting for all jobs.

Submitit submits and requeues jobs. What it lacks is here: errors that a signal causes are no result
of a job, and a cancelled job is noticed without accounting (submitit asks ``sacct`` alone).
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib.util import find_spec
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

from diswot.errors import UserError

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn
    from submitit import Job


_PROGRAMS = ("sbatch", "srun", "scontrol", "squeue")
_ADVICE = "start the sweep where jobs can be submitted, {}or choose hydra/launcher=joblib or basic"

_SIGNALS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM)
_TERMINATED = 128 + signal.SIGTERM  # exit status

_FINAL_STATES = (
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"),
    *("OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"),
)
"""States of jobs that do not run again; a requeued job is pending."""

_GRACE = 10.0  # s until the result of a finished job must be visible on this machine
_POLL = 2.0, 30.0  # s between two calls of squeue: the shortest, at first, and the longest


def require_packages() -> None:
    """Refuse with a `UserError` where a package of the extra ``slurm`` is missing."""
    for module in ("submitit", "hydra_plugins.hydra_submitit_launcher"):
        if find_spec(module) is None:
            missing = f"{module.rpartition('.')[2].replace('_', '-')} is not installed"
            raise UserError(f"hydra/launcher=slurm: {missing}; pip install 'diswot[slurm]'")


def require_cluster() -> None:
    """Refuse with a `UserError` where a program is missing, or no cluster answers."""
    for program in _PROGRAMS:
        if shutil.which(program) is None:
            raise UserError(
                f"hydra/launcher=slurm: there is no {program} on this machine; "
                f"{_ADVICE.format('install slurm-client, ')}"
            )
    code, _, errors = _squeue(f"--user={os.getuid()}")
    if code and "timed out" not in errors:  # a slow cluster is one
        lines = [line.partition("error: ")[2] or line for line in errors.splitlines()]
        reason = next((line.strip() for line in lines if line.strip()), f"exit code {code}")
        raise UserError(
            f"hydra/launcher=slurm: no cluster answers ({reason}); {_ADVICE.format('')}"
        )


class _NotRequeuedError(BaseException):
    """The job ends for good; no ``except Exception`` around a candidate may catch this."""


def run_requeueable(run: Callable[..., JobReturn], *arguments: Any) -> JobReturn:
    """Run a job so that a signal to leave never becomes its result.

    Submitit's signal handlers requeue the job and exit. What the job raises after a signal is a
    consequence of it: Slurm says whether the job starts again. In forked processes, which inherit
    the handlers and get the signals too, they do nothing. After a signal it ends by SystemExit, or
    by UncompletedJobError where the job was not requeued, such as after too many time-outs.
    """
    from hydra.core.utils import JobStatus
    from submitit.core.utils import UncompletedJobError

    process, received = os.getpid(), False
    before: dict[int, Any] = {number: signal.getsignal(number) for number in _SIGNALS}

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal received
        if os.getpid() != process or not callable(before[number]):
            return
        received = True
        try:
            before[number](number, frame)
        except UncompletedJobError as error:
            raise _NotRequeuedError(str(error)) from error
        except Exception as error:  # such as: Slurm has requeued the job by itself
            raise SystemExit(_TERMINATED) from error

    for number in before:
        signal.signal(number, handle)
    try:
        result = run(*arguments)
    except _NotRequeuedError as error:
        raise UncompletedJobError(str(error)) from None
    except BaseException:
        if received:
            raise SystemExit(_TERMINATED) from None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if received and result.status is not JobStatus.COMPLETED:
        raise SystemExit(_TERMINATED)
    return result


def wait_for_jobs(jobs: Sequence[Job[Any]]) -> Iterator[tuple[int, JobReturn | str]]:
    """Yield index and outcome of every job of an array, in the order in which they end.

    The outcome of a job without a result is one line that says why there is none.
    """
    waiting = dict(enumerate(jobs))
    states: dict[str, str] = {}
    ended_since: dict[int, float] = {}
    started, asked = time.monotonic(), -_POLL[1]
    while waiting:
        now = time.monotonic()
        if now - asked >= min(_POLL[1], max(_POLL[0], (now - started) / 10)):
            asked, answer = now, _states(jobs[0].job_id.partition("_")[0])
            if answer is not None:
                states = answer
                ended_since = {
                    index: ended_since.get(index, now)
                    for index, job in waiting.items()
                    if states.get(job.job_id, "COMPLETED") in _FINAL_STATES
                }
        for index, job in list(waiting.items()):
            outcome = _outcome(job)
            if outcome is None and now - ended_since.get(index, now) > _GRACE:
                state = states.get(job.job_id, "gone from the queue")
                outcome = f"Slurm job {job.job_id} is {state}; its log: {job.paths.stdout}"
            if outcome is not None:
                del waiting[index]
                yield index, outcome
        if waiting:
            time.sleep(1)


def _outcome(job: Job[Any]) -> JobReturn | str | None:
    """The result that a job has written, None while there is none."""
    from submitit.core.utils import pickle_load

    with suppress(OSError):  # makes a network file system look again
        job.paths.folder.chmod(job.paths.folder.stat().st_mode)
    if not job.paths.result_pickle.exists():
        return None
    outcome, result = pickle_load(job.paths.result_pickle)
    if outcome == "error":
        reason = result.strip().rpartition("\n")[2].rpartition("Error: ")[2]
        result = f"{reason} Its log: {job.paths.stdout}"
    return cast("JobReturn | str", result)


def _states(array: str) -> dict[str, str] | None:
    """States by job id; None where Slurm does not answer."""
    code, output, errors = _squeue("--array", "--states=all", "--format=%i %T", f"--jobs={array}")
    if code:
        return {} if "Invalid job id" in errors else None
    return dict(re.findall(r"^\s*(\S+) (\S+)", output, flags=re.MULTILINE))


def _squeue(*options: str) -> tuple[int, str, str]:
    """Exit code, output and errors of ``squeue``."""
    command = ["squeue", "--noheader", *options]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 1, "", "timed out"
    return done.returncode, done.stdout, done.stderr
