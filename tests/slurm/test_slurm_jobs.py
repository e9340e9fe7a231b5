"""Signals of a cluster, jobs that leave no result, and refused submissions, without a cluster."""

import os
import pickle
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf
from submitit.core.utils import UncompletedJobError

from diswot import slurm
from diswot.errors import UserError
from diswot.scoring.pool import Worker
from diswot.slurm import require_cluster, run_requeueable, wait_for_jobs
from hydra_plugins.diswot_slurm import SlurmLauncher


@pytest.fixture(autouse=True)
def restored_handlers() -> Iterator[None]:
    numbers = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def job_return(value: object = None, status: JobStatus = JobStatus.COMPLETED) -> JobReturn:
    result = JobReturn(overrides=["a=1"], status=status)
    result.return_value = value
    return result


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (UncompletedJobError("timed-out too many times"), UncompletedJobError),
        (SystemExit(-1), SystemExit),
        (subprocess.CalledProcessError(1, "scontrol"), SystemExit),  # Slurm requeued it itself
    ],
)
def test_the_end_of_a_job_is_no_error_of_a_candidate(
    error: BaseException, expected: type[BaseException]
) -> None:
    def handler(number: int, frame: object) -> None:
        raise error

    def score_candidate() -> JobReturn:
        try:
            os.kill(os.getpid(), signal.SIGUSR2)
        except Exception as failure:
            return job_return(failure)
        return job_return("went on")

    signal.signal(signal.SIGUSR2, handler)
    with pytest.raises(expected):
        run_requeueable(score_candidate)
    assert signal.getsignal(signal.SIGUSR2) is handler


def test_an_error_after_sigterm_is_no_result() -> None:
    signal.signal(signal.SIGTERM, lambda *_: None)

    def run(value: object, status: JobStatus) -> JobReturn:
        os.kill(os.getpid(), signal.SIGTERM)
        return job_return(value, status)

    with pytest.raises(SystemExit) as end:
        run_requeueable(run, OSError(), JobStatus.FAILED)
    assert end.value.code == 143
    assert run_requeueable(run, 3, JobStatus.COMPLETED).return_value == 3
    failed = run_requeueable(job_return, OSError(), JobStatus.FAILED)
    assert failed.status is JobStatus.FAILED


def test_forked_processes_leave_signals_alone(tmp_path: Path) -> None:
    signal.signal(signal.SIGUSR2, lambda *_: (tmp_path / str(os.getpid())).touch())

    def run() -> JobReturn:
        pid = os.fork()
        if not pid:
            os.kill(os.getpid(), signal.SIGUSR2)
            os._exit(7)
        _, status = os.waitpid(pid, 0)
        os.kill(os.getpid(), signal.SIGUSR2)
        return job_return(os.waitstatus_to_exitcode(status))

    assert run_requeueable(run).return_value == 7
    assert [file.name for file in tmp_path.iterdir()] == [str(os.getpid())]


def test_scoring_processes_get_no_signal_of_a_cluster() -> None:
    worker = Worker()
    status = Path(f"/proc/{worker.process.pid}/status").read_text()
    (blocked,) = [int(line.split()[1], 16) for line in status.splitlines() if "SigBlk" in line]
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        assert blocked >> (number - 1) & 1
        os.kill(worker.process.pid, number)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
    assert worker.process.poll() is None
    assert worker.stop() == -signal.SIGKILL


def submitted_job(folder: Path, job_id: str) -> Any:
    files = {"result_pickle": folder / f"{job_id}.pkl", "stdout": folder / f"{job_id}.out"}
    return SimpleNamespace(job_id=job_id, paths=SimpleNamespace(folder=folder, **files))


def write(job: Any, *outcome: Any) -> None:
    job.paths.result_pickle.write_bytes(pickle.dumps(outcome))


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Sets what a program of Slurm's does; sbatch refuses, the others do nothing."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    monkeypatch.setattr(slurm, "_GRACE", 0.5)
    monkeypatch.setattr(slurm, "_POLL", (0.0, 0.0))

    def write(name: str, script: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)

    for name in ("srun", "scontrol", "squeue"):
        write(name, "exit 0")
    write("sbatch", "echo 'sbatch: error: invalid partition' >&2; exit 1")
    return write


def test_every_job_is_waited_for(programs: Callable[[str, str], None], tmp_path: Path) -> None:
    programs("squeue", 'echo "4_0 COMPLETED"; echo "4_1 CANCELLED"; echo "4_3 RUNNING"')
    jobs = [submitted_job(tmp_path, f"4_{index}") for index in range(5)]
    write(jobs[0], "success", job_return(1.5))
    write(jobs[4], "error", "Traceback:\n  x\nUncompletedJobError: Job not requeued because.\n")
    outcomes: dict[int, JobReturn | str] = {}
    for index, outcome in wait_for_jobs(jobs):
        outcomes[index] = outcome
        if {0, 1, 2, 4} <= set(outcomes):
            write(jobs[3], "success", job_return(2.5))
    assert list(outcomes)[-1] == 3
    assert isinstance(outcomes[0], JobReturn)
    log = tmp_path / "4"
    assert outcomes[1] == f"Slurm job 4_1 is CANCELLED; its log: {log}_1.out"
    assert outcomes[2] == f"Slurm job 4_2 is gone from the queue; its log: {log}_2.out"
    assert outcomes[4] == f"Job not requeued because. Its log: {log}_4.out"


def test_slurm_that_does_not_answer(
    programs: Callable[[str, str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs("squeue", "echo 'error: Unable to contact slurm controller' >&2; exit 1")
    jobs = [submitted_job(tmp_path, "7")]
    slept = iter(range(3))

    def sleep(_: float) -> None:
        if next(slept) == 2:
            write(jobs[0], "success", job_return(1))

    with monkeypatch.context() as patch:
        patch.setattr(slurm, "time", SimpleNamespace(sleep=sleep, monotonic=time.monotonic))
        ((index, outcome),) = wait_for_jobs(jobs)
    assert (index, isinstance(outcome, JobReturn)) == (0, True)
    jobs[0].paths.result_pickle.unlink()
    programs("squeue", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    ((_, outcome),) = wait_for_jobs(jobs)
    assert "gone from the queue" in str(outcome)


def test_a_slow_cluster_is_one(programs: Callable[[str, str], None]) -> None:
    require_cluster()
    programs("squeue", "echo 'squeue: error: Socket timed out on send' >&2; exit 1")
    require_cluster()
    programs("squeue", "exit 1")
    with pytest.raises(UserError, match=r"no cluster answers \(exit code 1\); .*basic"):
        require_cluster()


def launcher(folder: Path, **settings: Any) -> SlurmLauncher:
    """One that has been set up."""
    where = {"submitit_folder": f"{folder}/.submitit/%j", "max_num_timeout": 1}
    made = SlurmLauncher(**where, **settings)
    config: Any = OmegaConf.create({"hydra": {"sweep": {"dir": str(folder)}}})
    made.setup(hydra_context=None, task_function=print, config=config)  # type: ignore[arg-type]
    return made


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"additional_parameters": "foo"}, "additional_parameters=foo is not allowed: "),
        ({"setup": "module load cuda"}, "setup=module load cuda is not allowed: Invalid value ass"),
        ({"timeout_min": "foo"}, "timeout_min=foo is not allowed: .* could not be converted to In"),
        ({"nodes": 1.5}, "nodes=1.5 is not allowed: .* could not be converted to Integer$"),
        ({"mem_gb": "16G"}, "mem_gb=16G is not allowed: .* could not be converted to Integer$"),
        ({"stderr_to_stdout": "x"}, "stderr_to_stdout=x is not allowed: .* not a valid bool"),
    ],
)
def test_settings_of_another_type(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"^hydra\.launcher\.{message}"):
        launcher(tmp_path, **settings)


@pytest.mark.usefixtures("programs")
def test_files_of_refused_jobs_are_removed(tmp_path: Path) -> None:
    jobs, folder = [["seed=0"], ["seed=1"]], tmp_path / "sweep"
    with pytest.raises(UserError, match=r"^hydra\.launcher: no job is submitted: invalid partitio"):
        launcher(folder, name="x", mem_gb=None).launch(jobs, 0)
    assert not (folder / ".submitit").exists()
    with pytest.raises(UserError, match="no job is submitted: Unknown argument 'sideways'"):
        launcher(folder, sideways=1).launch(jobs, 0)
    (folder / ".submitit/7_0").mkdir(parents=True)  # of an earlier sweep
    with pytest.raises(UserError, match="no job is submitted"):
        launcher(folder).launch(jobs, 0)
    assert (folder / ".submitit/7_0").is_dir()


def test_interrupted_waiting(
    programs: Callable[[str, str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    programs("sbatch", "echo Submitted batch job 7")
    monkeypatch.setattr(slurm, "wait_for_jobs", interrupted)
    with pytest.raises(KeyboardInterrupt, match="Slurm job 7 goes on, and scancel 7"):
        launcher(tmp_path).launch([["seed=0"], ["seed=1"]], 0)
