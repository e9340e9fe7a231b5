"""One job of a Hydra app, here or in a process that gets it pickled."""

from __future__ import annotations

import logging
import shlex
import shutil
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from diswot.commands import naming
from diswot.commands.errors import message, tolerant_streams
from diswot.config import with_members
from diswot.console import shown
from diswot.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

_PACKAGE = Path(__file__).parents[1]
_SHOWN = warnings.formatwarning


@dataclass(frozen=True)
class Launch:
    """What Hydra starts a job with: resolved settings, as plain values, and the run directory.

    Attributes:
        sweep: Folder of the sweep that the job belongs to, None for a single run.
        overrides: Words of the command line that are settings.
        choices: What was chosen of each group, by a word, an experiment or by default.
        folders: All folders of configs; ``further`` are those that ``--config-dir`` names.
    """

    config: dict[str, Any]
    path: Path
    sweep: str | None
    overrides: tuple[str, ...]
    choices: dict[str, Any]
    folders: tuple[Path, ...]
    further: tuple[str, ...]

    @classmethod
    def of(cls, cfg: DictConfig) -> Launch:
        """The job that runs in this process."""
        from hydra.core.hydra_config import HydraConfig
        from hydra.types import RunMode

        hydra = HydraConfig.get()
        sources = hydra.runtime.config_sources
        return cls(
            config=naming.plain(cfg),
            path=Path(str(hydra.runtime.output_dir)),
            sweep=str(hydra.sweep.dir) if hydra.mode is RunMode.MULTIRUN else None,
            overrides=tuple(map(naming.as_given, hydra.overrides.task)),
            choices={str(group): choice for group, choice in hydra.runtime.choices.items()},
            folders=tuple(Path(each.path) for each in sources if each.schema == "file"),
            further=tuple(str(s.path) for s in sources if s.provider == "command-line"),
        )

    def given(self, *prefixes: str) -> list[str]:
        """The settings of the command line that begin so."""
        return [word for word in self.overrides if word.lstrip("+~").startswith(prefixes)]

    def next_command(self, name: str, words: Sequence[str]) -> str:
        """The line that runs another command with these settings, as this one was started."""
        started = sys.orig_argv
        program = ["diswot", name] if shutil.which("diswot") else [*started[:2], name]
        if "-m" in started:
            program = [started[0], "-m", f"diswot.{name}"]
        return shlex.join([*program, *(f"--config-dir={each}" for each in self.further), *words])


class Failed(NamedTuple):
    """A job of a sweep that gave no result: its place, its run directory if known, and why."""

    number: int
    path: Path | None
    reason: str


def sweep_summary(jobs: Sequence[Sequence[str]], failed: Sequence[Failed]) -> str:
    """How many jobs of a sweep failed, and why; ``jobs`` are the overrides of every job."""
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


def one_line(error: BaseException) -> str:
    """The message of an error, without line breaks."""
    return " ".join(message(error).split())


class Task:
    """Calls an entry point's job, and keeps what it refuses.

    Launchers pickle it into other processes (there it is ``away``), where it brings along what the
    configs need of this program: Hydra's own state travels with the launchers, resolvers do not.

    Attributes:
        refused: By a single run.
        jobs: Overrides of the sweep's jobs that ran in this process; ``failed`` are some of them.
        paths: Their run directories.
        debug: Whether a job that was refused has ``debug: true`` in its config.
    """

    def __init__(self, name: str, job: Callable[[Launch], object], *, away: bool = False) -> None:
        self._name, self._job, self._away = name, job, away
        self.refused: Exception | None = None
        self.jobs: list[list[str]] = []
        self.paths: list[Path] = []
        self.failed: list[Failed] = []
        self.debug = False

    def __reduce__(self) -> tuple[Callable[..., Task], tuple[str, str, str]]:
        module = self._job.__module__
        module = f"diswot.{self._name}" if module == "__main__" else module
        return _restored, (self._name, module, self._job.__qualname__)

    def __call__(self, cfg: DictConfig) -> object:
        """One job; in a sweep errors are raised, since Hydra says which of its jobs it was."""
        launch = Launch.of(cfg)
        self.jobs.append(list(launch.overrides))
        self.paths.append(launch.path)
        try:
            with_members(launch.config, launch.folders)
            return self._job(launch)
        except (UserError, OSError) as error:
            self.debug |= launch.config.get("debug") is True
            if launch.sweep is None:
                self.refused = error
                return None
            self.failed.append(Failed(len(self.jobs) - 1, launch.path, one_line(error)))
            if self._away and self.debug:
                traceback.print_exc()  # it does not travel back with the error
            raise
        finally:
            with suppress(OSError):  # Hydra made it; it stays where something was written
                launch.path.rmdir()


def _restored(name: str, module: str, function: str) -> Task:
    prepare_process()
    return Task(name, getattr(import_module(module), function), away=True)


def _one_line(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    """A warning of this package without the place in its code, another as Python shows it."""
    if Path(filename).is_relative_to(_PACKAGE):
        return f"warning: {message}\n"
    return _SHOWN(message, category, filename, lineno, line)


def prepare_process() -> None:
    """Settle what is alike in every process that runs an app's jobs."""
    warnings.filterwarnings("ignore", message="The `srun` command is available")
    warnings.formatwarning = _one_line
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # it tells of its cache
    naming.register()
    tolerant_streams()
