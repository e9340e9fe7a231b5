"""One job of an app, here or in a process that gets it pickled; and what is said of a sweep."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from diswot.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["Failed", "Task", "launcher_errors", "named", "one_line", "sweep_summary"]


@dataclass(frozen=True)
class Failed:
    """A job of a sweep that gave no result.

    Attributes:
        number: Its place in the sweep.
        path: Its run directory, if known.
        reason: One line.
    """

    number: int
    path: Path | None
    reason: str


def sweep_summary(jobs: Sequence[Sequence[str]], failed: Sequence[Failed]) -> str:
    """How many jobs of a sweep failed, and why each of them did.

    Args:
        jobs: Overrides of every job.
        failed: Those that failed.
    """
    from diswot.console import shown

    kept = "; the others' results are kept" if len(failed) < len(jobs) else ""
    lines = [f"{len(failed)} of {len(jobs)} jobs failed{kept}"]
    for each in failed:
        where = f" in {shown(each.path)}" if each.path else ""
        lines.append(f"  {named(jobs, each.number)}{where}: {each.reason}")
    return "\n".join(lines)


def named(jobs: Sequence[Sequence[str]], number: int) -> str:
    """The overrides that tell a job from the others of its sweep."""
    own = list(jobs[number])
    shared = set(own).intersection(*jobs) if len(jobs) > 1 else set()
    return " ".join(word for word in own if word not in shared) or f"job {number}"


class Task:
    """Calls an entry point's job, and keeps what it refuses.

    Launchers pickle it into other processes, where it brings along what the configs need of this
    program: Hydra's own state travels with the launchers, resolvers do not.

    Args:
        name: Of the main config; the job's module, if that was started as a program.
        job: Called once a run; a function of a module.

    Attributes:
        refused: By a single run.
        jobs: Overrides of the sweep's jobs that ran in this process.
        failed: Those of them that failed.
    """

    def __init__(self, name: str, job: Callable[[DictConfig], object]) -> None:
        self._name = name
        self._job = job
        self.refused: Exception | None = None
        self.jobs: list[list[str]] = []
        self.failed: list[Failed] = []

    def __reduce__(self) -> tuple[Callable[..., Task], tuple[str, str, str]]:
        module = self._job.__module__
        module = f"diswot.{self._name}" if module == "__main__" else module
        return _restored, (self._name, module, self._job.__qualname__)

    def __call__(self, cfg: DictConfig) -> object:
        """One job; in a sweep errors are raised, since Hydra says which of its jobs it was."""
        from hydra.core.hydra_config import HydraConfig
        from hydra.types import RunMode

        hydra = HydraConfig.get()
        single = hydra.mode is RunMode.RUN
        self.jobs.append([str(word) for word in hydra.overrides.task])
        try:
            return self._job(cfg)
        except (UserError, OSError) as error:
            if not single:
                path = Path(str(hydra.runtime.output_dir))
                self.failed.append(Failed(len(self.jobs) - 1, path, one_line(error)))
                raise
            self.refused = error
            return None


def one_line(error: BaseException) -> str:
    """What an error says, without line breaks."""
    from diswot.hydra_app import message

    return " ".join(message(error).split())


@contextmanager
def launcher_errors() -> Iterator[None]:
    """Give a message where joblib refuses its settings, such as ``n_jobs=0``.

    Raises:
        UserError: It does; errors of jobs, which come out of Hydra, stay as they are.
    """
    try:
        yield
    except (ValueError, TypeError) as error:
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__")).partition(".")[0] != "joblib":
            raise
        raise UserError(
            f"hydra.launcher: joblib refuses its settings ({error}); hydra.launcher.n_jobs=2 "
            "runs two jobs at a time, -1 one a core"
        ) from error


def _restored(name: str, module: str, function: str) -> Task:
    from diswot.hydra_app import prepare_process

    prepare_process()
    return Task(name, getattr(import_module(module), function))
