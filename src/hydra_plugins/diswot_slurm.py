"""``hydra/launcher=slurm``: hydra-submitit-launcher's Slurm launcher, with waiting of our own.

Hydra looks for launchers in this package and imports this module at every start.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher

if TYPE_CHECKING:
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig
    from submitit import Job

try:
    from hydra_plugins.hydra_submitit_launcher.submitit_launcher import (  # type: ignore[import-untyped]
        SlurmLauncher as _SubmititLauncher,
    )
except ImportError:  # without the extra `slurm`, which `setup` says

    class _SubmititLauncher(Launcher):  # type: ignore[no-redef]
        def __init__(self, **params: Any) -> None:
            self.params = params


log = logging.getLogger(__name__)


class SlurmLauncher(_SubmititLauncher):  # type: ignore[misc]
    """Submits a sweep as one job array and waits for every job of it.

    ``params`` are settings of `SlurmQueueConf`, and others of submitit's Slurm executor.
    """

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Refuse with a `UserError` where nothing could be submitted; nothing is written yet."""
        from diswot.slurm import require_cluster, require_packages

        require_packages()
        _check_settings(self.params)
        require_cluster()
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def __call__(self, *job: Any) -> JobReturn:
        """Run one job, on the cluster; its run directory is found again when it is requeued."""
        from diswot.slurm import run_requeueable

        return run_requeueable(super().__call__, *job)

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Submit, and wait; all failed jobs get one error. UserError if none could be submitted."""
        from diswot.commands.task import Failed, named, one_line, sweep_summary
        from diswot.errors import UserError
        from diswot.slurm import wait_for_jobs

        jobs = self._submit(job_overrides, initial_job_idx)
        array, count = jobs[0].job_id.partition("_")[0], len(jobs)
        log.info("Slurm job %s: %s", array, "1 job" if count == 1 else f"an array of {count} jobs")
        returns = [JobReturn(list(words), status=JobStatus.FAILED) for words in job_overrides]
        failed: dict[int, Failed] = {}
        try:
            for done, (index, outcome) in enumerate(wait_for_jobs(jobs), start=1):
                state, reason = "finished", "" if isinstance(outcome, JobReturn) else outcome
                if isinstance(outcome, JobReturn):
                    returns[index] = outcome
                    if outcome.status is not JobStatus.COMPLETED:
                        reason = one_line(outcome._return_value)  # the property raises it
                if reason:
                    failed[index] = Failed(index, self._run_dir(returns[index]), reason)
                    state = f"failed: {reason}"
                log.info("%s %s (%d of %d)", named(job_overrides, index), state, done, count)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"Stopped waiting; Slurm job {array} goes on, and scancel {array} ends it."
            ) from None
        summary = UserError(sweep_summary(job_overrides, [failed[i] for i in sorted(failed)]))
        for index in failed:
            returns[index].return_value = summary
        return returns

    def _submit(self, job_overrides: Sequence[Sequence[str]], first: int) -> list[Job[JobReturn]]:
        import submitit
        from hydra.core.singleton import Singleton
        from hydra_plugins.hydra_submitit_launcher import config  # type: ignore[import-untyped]

        from diswot.errors import UserError

        shared = vars(config.BaseQueueConf())  # those of every kind of cluster; others are Slurm's
        settings = {k if k in shared else f"slurm_{k}": v for k, v in self.params.items()}
        where = settings.pop("submitit_folder")
        timeouts = settings.pop("slurm_max_num_timeout")
        state = Singleton.get_state()
        arguments = [
            (list(overrides), "hydra.sweep.dir", index, f"job_id_for_{index}", state)
            for index, overrides in enumerate(job_overrides, start=first)
        ]
        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        folder = Path(where.partition("%")[0])
        existed = folder.exists()
        try:
            executor = submitit.AutoExecutor(where, "slurm", slurm_max_num_timeout=timeouts)
            executor.update_parameters(**settings)
            return list(executor.map_array(self, *zip(*arguments, strict=True)))
        except (RuntimeError, ValueError, NameError, AssertionError) as error:
            if not existed and not any(path.is_dir() for path in folder.glob("*")):
                shutil.rmtree(folder, ignore_errors=True)
            refusals = re.findall(r"sbatch: error:\s*(.*?)\s*$", str(error), flags=re.MULTILINE)
            reason = "; ".join(refusals) or " ".join(str(error).split())
            raise UserError(f"hydra.launcher: no job is submitted: {reason}") from error

    def _run_dir(self, job: JobReturn) -> Path:
        if job.hydra_cfg is not None:
            return Path(job.hydra_cfg.hydra.runtime.output_dir)
        overrides = list(job.overrides or ())
        sweep = self.hydra_context.config_loader.load_sweep_config(self.config, overrides)
        return Path(sweep.hydra.sweep.dir, sweep.hydra.sweep.subdir)


def _check_settings(settings: Mapping[str, Any]) -> None:
    """Refuse settings of other types than hydra-submitit-launcher's."""
    from hydra_plugins.hydra_submitit_launcher import config
    from omegaconf import OmegaConf, ValidationError

    from diswot.errors import UserError

    schema = OmegaConf.structured(config.SlurmQueueConf)
    for name, value in settings.items():
        try:
            if name in vars(config.SlurmQueueConf()):
                schema[name] = value
        except ValidationError as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"hydra.launcher.{name}={value} is not allowed: {reason}") from None
