"""The life of a run: its directory, its loggers, what is said when it stops or has finished."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from diswot.checks import flag
from diswot.commands.stops import heeded
from diswot.config import require
from diswot.console import print_lines
from diswot.runs import (
    CandidateRecord,
    EpochRecord,
    ProbeRecord,
    RaceRecord,
    RunDir,
    ScoreRecord,
    Summary,
    SynthesisRecord,
)

if TYPE_CHECKING:
    from diswot.loggers import Loggers

R = TypeVar(
    "R", CandidateRecord, ScoreRecord, EpochRecord, RaceRecord, ProbeRecord, SynthesisRecord
)
S = TypeVar("S", bound=Summary)
P = ParamSpec("P")


@dataclass(frozen=True)
class Command(Generic[R, S]):
    """A kind of run: its journal's records, its ``result.json`` and what messages call it.

    Attributes:
        axis: What the steps of loggers count, see `diswot.loggers.LoggedRun`.
        kept: What a stopped run leaves; ``nothing`` is said where it leaves nothing.
    """

    name: str
    noun: str
    record: type[R]
    summary: type[S]
    axis: str
    kept: str = "what was scored is kept"
    nothing: str = "nothing was scored yet"


def settled(config: Mapping[str, Any], *groups: str) -> dict[str, Any]:
    """A resolved config with its device; UserError for a missing group or a setting of all."""
    from diswot.scoring.runtime import resolve_device

    require(config, *groups)
    flag("debug", config["debug"])
    flag("strict", config.get("strict", False))
    return {**config, "device": resolve_device(config["device"])}


class Session(Generic[R, S]):
    """One run of a command, in ``path``; ``group`` is that of runs that belong together.

    The config is settled and complete: what ``config.json`` is to hold.

    Attributes:
        run_dir: Locked while the session is open.
        loggers: There while the session is open; the work starts them.
    """

    command: Command[R, S]
    run_dir: RunDir[R]
    loggers: Loggers

    def __init__(
        self,
        command: Command[R, S],
        config: dict[str, Any],
        path: Path,
        *,
        quiet: bool = False,
        group: str | None = None,
    ) -> None:
        self.command, self.config, self.path = command, config, path
        self.quiet, self.group = quiet, group
        self.run_dir = RunDir(path, config, command.record)

    def result(
        self,
        work: Callable[[Session[R, S]], S],
        show: Callable[[S, Path], object],
        *,
        finished: Callable[[S], bool] = lambda _: True,
        opens: bool = False,
    ) -> S:
        """The result of an earlier start if it is ``finished``, else that of the work; shown.

        With ``opens`` the work opens the session itself, maybe in another process.

        Raises:
            UserError: Wrong input, or another run is in the directory.
            KeyboardInterrupt: Stopped; the message says how to go on.
            OSError: The run directory cannot be written.
        """
        self.run_dir.compare_config()
        summary = self.run_dir.load_result(self.command.summary)
        if summary is None or not finished(summary):
            with self._stoppable() if opens else self.opened():
                summary = work(self)
        else:
            before = f"This {self.command.noun} has finished before, in {self.path}."
            self.show(print_lines, [before])
        self.show(show, summary, self.path)
        return summary

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Lock the directory and follow the run with its loggers; a stop says how to go on."""
        from diswot.loggers import LoggedRun, Loggers  # imports Lightning

        run = LoggedRun(self.command.name, self.path, self.config, self.command.axis, self.group)
        with self._stoppable(), self.run_dir, Loggers(run, quiet=self.quiet) as self.loggers:
            yield

    @contextmanager
    def _stoppable(self) -> Iterator[None]:
        try:
            with heeded():
                yield
        except KeyboardInterrupt:
            kept = self.command.kept if self.run_dir.begun else self.command.nothing
            raise KeyboardInterrupt(
                f"Stopped; {kept} in {self.path}. The same command goes on from there."
            ) from None

    def show(self, function: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Call what shows something, unless the session is quiet."""
        if not self.quiet:
            function(*args, **kwargs)
