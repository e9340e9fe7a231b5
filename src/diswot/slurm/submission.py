"""Hands the jobs of a sweep to Slurm."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from diswot.errors import UserError

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn

    from diswot.slurm.job import Job
    from diswot.slurm.waiting import Submitted

__all__ = ["refuse_without_slurm", "submit"]

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


def refuse_without_slurm() -> None:
    """Look for what a sweep on Slurm needs.

    Raises:
        UserError: Names the package or program that is missing.
    """
    for module, package in _PACKAGES.items():
        if find_spec(module) is None:
            raise UserError(
                f"hydra/launcher=slurm: {package} is not installed; pip install 'diswot[slurm]'"
            )
    for program in _PROGRAMS:
        if shutil.which(program) is None:
            raise UserError(
                f"hydra/launcher=slurm: there is no {program} on this machine; start the sweep "
                "where jobs can be submitted, install slurm-client, or choose "
                "hydra/launcher=joblib or basic"
            )


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
        UserError: Slurm or submitit refuses them.
    """
    import submitit
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    try:
        executor = submitit.AutoExecutor(folder, cluster="slurm", slurm_max_num_timeout=timeouts)
        executor.update_parameters(**_prefixed(settings))
        jobs: list[submitit.Job[JobReturn]] = executor.map_array(job, *zip(*arguments, strict=True))
    except (FailedJobError, FailedSubmissionError, ValueError, AssertionError) as error:
        raise UserError(f"hydra.launcher: no job is submitted: {_said(error)}") from error
    return list(jobs)


def _prefixed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Plain settings under submitit's names."""
    from omegaconf import OmegaConf

    plain = OmegaConf.to_container(OmegaConf.create(dict(settings)), resolve=True)
    assert isinstance(plain, dict)
    names = {str(name): name if name in _SHARED else f"slurm_{name}" for name in settings}
    return {names[str(name)]: value for name, value in plain.items()}


def _said(error: Exception) -> str:
    """What sbatch printed, in one line."""
    lines = [line for line in str(error).splitlines() if "sbatch: error:" in line]
    told = "; ".join(line.rpartition("sbatch: error:")[2].strip() for line in lines)
    return told or " ".join(str(error).split())
