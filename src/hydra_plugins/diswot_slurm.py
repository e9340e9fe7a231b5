"""``hydra/launcher=slurm``: the jobs of a sweep on a Slurm cluster.

Hydra looks for launchers here and imports this module whenever a program of its starts.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher

if TYPE_CHECKING:
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig

    from diswot.commands.task import Failed
    from diswot.slurm.waiting import Lost, Submitted

__all__ = ["SlurmLauncher"]

log = logging.getLogger(__name__)


class SlurmLauncher(Launcher):
    """Submits a sweep as one job array and waits for every job of it.

    Args:
        submitit_folder: Takes what a job is given, prints and returns; ``%j`` is its id.
        max_num_timeout: Time-outs after which a job is not requeued again.
        settings: What the jobs ask of Slurm.
    """

    def __init__(self, submitit_folder: str, max_num_timeout: int, **settings: Any) -> None:
        self._folder = submitit_folder
        self._timeouts = max_num_timeout
        self._settings = settings
        self._context: HydraContext
        self._config: DictConfig
        self._task: TaskFunction

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Refuse where nothing could be submitted, before anything is written.

        Raises:
            UserError: Says what is missing, or which setting is wrong.
        """
        from diswot.slurm.submission import refuse_settings, refuse_without_slurm

        refuse_settings({**self._settings, "max_num_timeout": self._timeouts})
        refuse_without_slurm()
        self._context, self._task, self._config = hydra_context, task_function, config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Submit and wait.

        Returns:
            One a job; of failed ones the same error, which tells of all.

        Raises:
            UserError: No job could be submitted.
            KeyboardInterrupt: The waiting was stopped; the jobs go on.
        """
        from diswot.slurm.waiting import ended

        jobs = self._submit(job_overrides, initial_job_idx)
        array = jobs[0].job_id.partition("_")[0]
        log.info("Slurm job %s: %s", array, _counted(len(jobs)))
        results: dict[int, JobReturn | Lost] = {}
        try:
            for number, result in ended(jobs):
                results[number] = result
                self._tell(job_overrides, number, result, len(results))
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"Stopped waiting; Slurm job {array} goes on, and scancel {array} ends it."
            ) from None
        return self._returns(job_overrides, results)

    def _submit(self, job_overrides: Sequence[Sequence[str]], first: int) -> list[Submitted]:
        from hydra.core.singleton import Singleton

        from diswot.slurm.job import Job
        from diswot.slurm.submission import submit

        submitit_launcher = import_module("hydra_plugins.hydra_submitit_launcher.submitit_launcher")
        Path(str(self._config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        run = submitit_launcher.SlurmLauncher()
        run.setup(hydra_context=self._context, task_function=self._task, config=self._config)
        state = Singleton.get_state()
        arguments = [
            (list(overrides), "hydra.sweep.dir", number, f"job_id_for_{number}", state)
            for number, overrides in enumerate(job_overrides, start=first)
        ]
        return submit(
            Job(run),
            arguments,
            folder=self._folder,
            timeouts=self._timeouts,
            settings=self._settings,
        )

    def _tell(
        self, jobs: Sequence[Sequence[str]], number: int, result: JobReturn | Lost, done: int
    ) -> None:
        from diswot.commands.task import named

        failed = self._failed(jobs, number, result)
        state = f"failed: {failed.reason}" if failed else "finished"
        log.info("%s %s (%d of %d)", named(jobs, number), state, done, len(jobs))

    def _failed(
        self, jobs: Sequence[Sequence[str]], number: int, result: JobReturn | Lost
    ) -> Failed | None:
        from diswot.commands.task import Failed, one_line

        if not isinstance(result, JobReturn):
            return Failed(number, self._run_dir(jobs[number]), result.reason)
        if result.status is JobStatus.COMPLETED:
            return None
        path = None if result.hydra_cfg is None else result.hydra_cfg.hydra.runtime.output_dir
        return Failed(number, path and Path(path), one_line(result._return_value))

    def _run_dir(self, overrides: Sequence[str]) -> Path:
        config = self._context.config_loader.load_sweep_config(self._config, list(overrides))
        return Path(str(config.hydra.sweep.dir)) / str(config.hydra.sweep.subdir)

    def _returns(
        self, jobs: Sequence[Sequence[str]], results: Mapping[int, JobReturn | Lost]
    ) -> list[JobReturn]:
        from diswot.commands.task import sweep_summary
        from diswot.errors import UserError

        failed = {n: self._failed(jobs, n, results[n]) for n in range(len(jobs))}
        summary = UserError(sweep_summary(jobs, [each for each in failed.values() if each]))
        returns = []
        for number, job in enumerate(jobs):
            result = results[number]
            done = result if isinstance(result, JobReturn) else JobReturn(overrides=list(job))
            if failed[number]:
                done.status, done.return_value = JobStatus.FAILED, summary
            returns.append(done)
        return returns


def _counted(jobs: int) -> str:
    return "1 job" if jobs == 1 else f"an array of {jobs} jobs"
