"""Signals of a cluster, and jobs that leave no result, without a cluster."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.core.utils import JobReturn, JobStatus
from submitit.core.utils import UncompletedJobError

from diswot.commands.task import Failed, Task, sweep_summary
from diswot.scoring.pool import _Worker
from diswot.search import job as search_job
from diswot.slurm import waiting
from diswot.slurm.job import Job
from diswot.slurm.waiting import Lost, ended

Handler = Callable[[int, object], None]


@pytest.fixture(autouse=True)
def handlers() -> Iterator[Callable[[Handler], None]]:
    """Sets what submitit would, and undoes it."""
    numbers = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    yield lambda handler: signal.signal(signal.SIGUSR2, handler) and None
    for number, handler in before.items():
        signal.signal(number, handler)


def done(value: object = None, status: JobStatus = JobStatus.COMPLETED) -> JobReturn:
    found = JobReturn(overrides=["a=1"], status=status)
    found.return_value = value
    return found


def like_a_candidate() -> JobReturn:
    """Gets the signal where errors are a candidate's."""
    try:
        os.kill(os.getpid(), signal.SIGUSR2)
    except Exception as error:
        return done(error)
    return done("went on")


def test_the_last_time_out_is_no_error_of_a_candidate(handlers: Callable[[Handler], None]) -> None:
    def handler(number: int, frame: object) -> None:
        raise UncompletedJobError("timed-out too many times")

    handlers(handler)
    with pytest.raises(UncompletedJobError, match="too many times"):
        Job(like_a_candidate)()
    assert signal.getsignal(signal.SIGUSR2) is handler


@pytest.mark.parametrize("error", [SystemExit(-1), subprocess.CalledProcessError(1, "scontrol")])
def test_a_requeued_job_has_no_result(
    handlers: Callable[[Handler], None], error: BaseException
) -> None:
    def handler(number: int, frame: object) -> None:
        raise error

    handlers(handler)
    with pytest.raises(SystemExit):
        Job(like_a_candidate)()


def test_an_error_after_sigterm_is_no_result() -> None:
    signal.signal(signal.SIGTERM, lambda *_: None)

    def run(value: object, status: JobStatus) -> JobReturn:
        os.kill(os.getpid(), signal.SIGTERM)
        return done(value, status)

    with pytest.raises(SystemExit) as end:
        Job(run)(OSError(), JobStatus.FAILED)
    assert end.value.code == 143
    assert Job(run)(3, JobStatus.COMPLETED).return_value == 3
    assert Job(done)(OSError(), JobStatus.FAILED).status is JobStatus.FAILED


def test_forked_processes_leave_signals_alone(
    handlers: Callable[[Handler], None], tmp_path: Path
) -> None:
    handlers(lambda *_: (tmp_path / str(os.getpid())).touch())

    def run() -> JobReturn:
        pid = os.fork()
        if not pid:
            os.kill(os.getpid(), signal.SIGUSR2)
            os._exit(7)
        _, status = os.waitpid(pid, 0)
        os.kill(os.getpid(), signal.SIGUSR2)
        return done(os.waitstatus_to_exitcode(status))

    assert Job(run)().return_value == 7
    assert [file.name for file in tmp_path.iterdir()] == [str(os.getpid())]


def test_scoring_processes_get_no_signal_of_a_cluster() -> None:
    worker = _Worker()
    status = Path(f"/proc/{worker.process.pid}/status").read_text()
    (blocked,) = [int(line.split()[1], 16) for line in status.splitlines() if "SigBlk" in line]
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        assert blocked >> (number - 1) & 1
        os.kill(worker.process.pid, number)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
    assert worker.process.poll() is None
    assert worker.stop() == -signal.SIGKILL


def test_a_task_in_another_process() -> None:
    pickled = pickle.dumps(Task("search", search_job))
    code = (
        "import pickle, sys; task = pickle.load(sys.stdin.buffer)\n"
        "from omegaconf import OmegaConf\n"
        "assert OmegaConf.has_resolver('diswot.run_name')\n"
        "print(task._job.__module__)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], input=pickled, capture_output=True, check=True
    )
    assert ran.stdout == b"diswot.search\n"


class Submitted:
    """A job whose files lie in a folder."""

    def __init__(self, folder: Path, job_id: str) -> None:
        self.job_id = job_id
        self.paths = SimpleNamespace(
            folder=folder, result_pickle=folder / f"{job_id}.pkl", stdout=folder / f"{job_id}.out"
        )

    def write(self, *outcome: Any) -> None:
        self.paths.result_pickle.write_bytes(pickle.dumps(outcome))


@pytest.fixture
def squeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Sets what ``squeue`` does."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(waiting, "_GRACE", 0.5)
    monkeypatch.setattr(waiting, "_ASK", (0.0, 0.0))

    def does(script: str) -> None:
        file = tmp_path / "squeue"
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)

    return does


def test_every_job_is_waited_for(squeue: Callable[[str], None], tmp_path: Path) -> None:
    squeue('echo "4_0 COMPLETED"; echo "4_1 CANCELLED"; echo "4_3 RUNNING"')
    jobs = [Submitted(tmp_path, f"4_{number}") for number in range(5)]
    jobs[0].write("success", done(1.5))
    jobs[4].write("error", "Traceback:\n  x\nUncompletedJobError: Job not requeued because.\n")
    found: dict[int, JobReturn | Lost] = {}
    for number, result in ended(jobs):
        found[number] = result
        if {0, 1, 2, 4} <= set(found):
            jobs[3].write("success", done(2.5))
    assert list(found)[-1] == 3
    assert isinstance(found[0], JobReturn)
    log = tmp_path / "4"
    assert found[1] == Lost(f"Slurm job 4_1 is CANCELLED; its log: {log}_1.out")
    assert found[2] == Lost(f"Slurm job 4_2 is gone from the queue; its log: {log}_2.out")
    assert found[4] == Lost(f"Job not requeued because. Its log: {log}_4.out")


def test_slurm_that_does_not_answer(squeue: Callable[[str], None], tmp_path: Path) -> None:
    squeue('echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1')
    jobs = [Submitted(tmp_path, "7")]
    asked = iter(range(3))

    def later(_: float) -> None:
        if next(asked) == 2:
            jobs[0].write("success", done(1))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(waiting, "time", SimpleNamespace(sleep=later, monotonic=time.monotonic))
        ((number, result),) = ended(jobs)
    assert (number, isinstance(result, JobReturn)) == (0, True)
    jobs[0].paths.result_pickle.unlink()
    squeue('echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1')
    ((_, lost),) = ended(jobs)
    assert isinstance(lost, Lost)
    assert "gone from the queue" in lost.reason


def test_what_is_said_of_a_sweep() -> None:
    jobs = [["space=s0", "seed=0"], ["space=s0", "seed=1"]]
    assert sweep_summary(jobs, [Failed(1, None, "no")]) == (
        "1 of 2 jobs failed; the others' results are kept\n  seed=1: no"
    )
    assert sweep_summary(jobs[:1], [Failed(0, Path("a"), "no")]) == (
        "1 of 1 jobs failed\n  space=s0 seed=0 in a: no"
    )
