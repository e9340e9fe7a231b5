"""Hands the jobs of a sweep to Slurm."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diswot.checks import flag, positive, whole
from diswot.errors import UserError

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn

    from diswot.slurm.job import Job
    from diswot.slurm.waiting import Submitted

__all__ = ["refuse_settings", "refuse_without_slurm", "submit"]

_PACKAGES = {
    "submitit": "submitit",
    "hydra_plugins.hydra_submitit_launcher": "hydra-submitit-launcher",
}
_PROGRAMS = ("sbatch", "srun", "scontrol", "squeue")
_SHARED = (
    *("name", "nodes", "tasks_per_node", "cpus_per_task", "gpus_per_node", "mem_gb"),
    *("timeout_min", "stderr_to_stdout"),
)
"""Settings that submitit knows for every kind of cluster; the others are Slurm's."""

_WHOLE = {
    **dict.fromkeys(("nodes", "tasks_per_node", "cpus_per_task"), 1),
    **dict.fromkeys(("timeout_min", "array_parallelism"), 1),
    **dict.fromkeys(("gpus_per_node", "signal_delay_s", "max_num_timeout"), 0),
}
"""Settings that are whole numbers, and the least of each."""

_ADVICE = "start the sweep where jobs can be submitted, {}or choose hydra/launcher=joblib or basic"


def refuse_without_slurm() -> None:
    """Look for what a sweep on Slurm needs.

    Raises:
        UserError: Names the package or program that is missing, or says why no cluster answers.
    """
    for module, package in _PACKAGES.items():
        if find_spec(module) is None:
            raise UserError(
                f"hydra/launcher=slurm: {package} is not installed; pip install 'diswot[slurm]'"
            )
    for program in _PROGRAMS:
        if shutil.which(program) is None:
            raise UserError(
                f"hydra/launcher=slurm: there is no {program} on this machine; "
                f"{_ADVICE.format('install slurm-client, ')}"
            )
    if told := _unreachable():
        raise UserError(f"hydra/launcher=slurm: no cluster answers ({told}); {_ADVICE.format('')}")


def _unreachable() -> str:
    """What ``squeue`` says where there is no cluster; nothing where one is merely slow."""
    command = ["squeue", "--noheader", f"--user={os.getuid()}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    if not done.returncode or "timed out" in done.stderr:
        return ""
    lines = [line.partition("error: ")[2] or line for line in done.stderr.splitlines()]
    return next((line.strip() for line in lines if line.strip()), f"exit code {done.returncode}")


def refuse_settings(settings: Mapping[str, Any]) -> None:
    """Look at what jobs are to ask for, as far as this side can tell; null is always allowed.

    Raises:
        UserError: Names a setting that is of another kind.
    """
    for name, value in _plain(settings).items():
        setting = f"hydra.launcher.{name}"
        if value is None:
            continue
        if name in _WHOLE:
            whole(setting, value, _WHOLE[name])
            if not isinstance(value, int):
                raise UserError(f"{setting}={value} is not allowed; give {int(value)}")
        elif name == "mem_gb":
            positive(setting, value)
        elif name == "stderr_to_stdout":
            flag(setting, value)
        elif name == "additional_parameters" and not isinstance(value, dict):
            raise UserError(
                f"{setting}={value} is not allowed; give a mapping: {{nodelist: node7}}"
            )
        elif name == "setup" and not _lines(value):
            raise UserError(f"{setting}={value} is not allowed; give a list: [module load cuda]")


def _lines(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(line, str) for line in value)


def submit(
    job: Job,
    arguments: Sequence[tuple[Any, ...]],
    *,
    folder: str,
    timeouts: int,
    settings: Mapping[str, Any],
) -> list[Submitted]:
    """Submit one call of a job for each tuple of arguments, as an array.

    Args:
        job: What runs.
        arguments: Of each call.
        folder: Of submitit's files; ``%j`` is the job's id.
        timeouts: After which a job is given up.
        settings: What the jobs ask of Slurm.

    Raises:
        UserError: Slurm or submitit refuses them; submitit's files are then removed again.
    """
    import submitit
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    waiting = Path(folder.partition("%")[0])
    known = waiting.exists()
    try:
        executor = submitit.AutoExecutor(folder, cluster="slurm", slurm_max_num_timeout=timeouts)
        executor.update_parameters(**_prefixed(settings))
        jobs: list[submitit.Job[JobReturn]] = executor.map_array(job, *zip(*arguments, strict=True))
    except (FailedJobError, FailedSubmissionError, ValueError, NameError, AssertionError) as error:
        if not known:
            _remove(waiting, at_most=len(arguments) + 1)
        raise UserError(f"hydra.launcher: no job is submitted: {_said(error)}") from error
    return list(jobs)


def _remove(folder: Path, at_most: int) -> None:
    """Remove what no job was made of, unless another sweep's files are among it."""
    files = list(folder.iterdir()) if folder.is_dir() else []
    if len(files) <= at_most and not any(file.is_dir() for file in files):
        shutil.rmtree(folder, ignore_errors=True)


def _prefixed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Plain settings under submitit's names."""
    return {
        name if name in _SHARED else f"slurm_{name}": value
        for name, value in _plain(settings).items()
    }


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    from omegaconf import OmegaConf

    plain = OmegaConf.to_container(OmegaConf.create(dict(settings)), resolve=True)
    assert isinstance(plain, dict)
    return {str(name): value for name, value in plain.items()}


def _said(error: Exception) -> str:
    """What sbatch printed, in one line."""
    lines = [line for line in str(error).splitlines() if "sbatch: error:" in line]
    told = "; ".join(line.rpartition("sbatch: error:")[2].strip() for line in lines)
    return told or " ".join(str(error).split())
