"""Weights & Biases."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, cast

from diswot.checks import choice, positive
from diswot.errors import UserError
from diswot.loggers._wandb_session import Session, failures, refusal, run_id
from diswot.loggers.base import Cell, Logger, Run

if TYPE_CHECKING:
    import wandb

__all__ = ["WandB"]

_MODES = ("auto", "online", "offline")
_TAG = 64  # characters of a tag at most
_NAME = 128  # of a group's name


class WandB(Logger):
    """Sends a run to Weights & Biases, or keeps it in ``wandb/`` of the run directory.

    The run's id is kept there too, so that a run that goes on after a stop is the same run.

    Args:
        name: Of the logger.
        project: Made if it is not there.
        entity: User or team; None: the key's own.
        mode: ``auto``: online where a key is found, else offline, without asking; the variable
            WANDB_MODE decides where it is set.
        wait: Seconds to wait at the end until all is sent.

    Raises:
        UserError: A setting is wrong.
    """

    def __init__(self, name: str, project: str, entity: str | None, mode: str, wait: float) -> None:
        if find_spec("wandb") is None:
            raise UserError(f"logger={name} needs a package: pip install wandb")
        self.name = name
        if project is None or not str(project).strip():
            raise UserError(
                "logger.wandb.project is empty; give a name, or leave out both it and WANDB_PROJECT"
            )
        self._project = str(project)
        self._entity = str(entity) if entity else None
        self._mode = choice("logger.wandb.mode", mode, _MODES)
        self._wait = positive("logger.wandb.wait", wait)
        self._axis = ""
        self._run: wandb.Run | None = None

    def start(self, run: Run) -> str:
        """Begin the run there, or go on with it.

        Raises:
            UserError: The key is refused, the server cannot be reached, or a variable is wrong.
        """
        self._session = Session(run.path)
        try:
            self._session.open()
            self._run = self._init(run)
        except failures() as error:
            self._session.close()
            raise refusal(error) from error
        except BaseException:  # Ctrl-C too
            self._session.close()
            raise
        self.errors = failures()
        self._axis = run.axis
        self._run.define_metric(run.axis)
        self._run.define_metric("*", step_metric=run.axis)
        return self._told(self._run)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Add a point a metric."""
        self._log({**metrics, self._axis: step})

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        """Add a table; of more rows than W&B takes, the first, with a warning."""
        import wandb

        most = wandb.Table.MAX_ROWS
        if len(rows) > most:
            warnings.warn(
                f"logger {self.name}: W&B gets the first {most:,} of {len(rows):,} rows of "
                f"{name}; all are in the run directory",
                stacklevel=1,
            )
        data = [list(row) for row in rows[:most]]
        self._log({name: wandb.Table(columns=list(columns), data=data, allow_mixed_types=True)})

    def image(self, name: str, path: Path) -> None:
        """Add the picture."""
        import wandb

        self._log({name: wandb.Image(str(path))})

    def finish(self, summary: Mapping[str, Any], *, failed: bool) -> None:
        """Give the summary, wait until all is sent, and end the service process."""
        run, self._run = self._run, None
        if run is None:
            return
        try:
            run.summary.update(dict(summary))
            run.finish(exit_code=int(failed))
        finally:
            self._session.close()

    def _init(self, run: Run) -> wandb.Run:
        import wandb

        mode = self._session.mode(self._mode)
        if (mode or os.environ["WANDB_MODE"]) in ("online", "shared"):
            run.tell("connecting to W&B …")
        return wandb.init(
            project=self._project,
            entity=self._entity,
            mode=cast(Any, mode),
            dir=str(run.path),
            id=run_id(run.path / "wandb", run.name),
            resume="allow",
            reinit="create_new",
            name=run.name[-_NAME:],
            group=None if run.group is None else run.group[-_NAME:],
            job_type=run.command,
            tags=[tag[:_TAG] for tag in run.tags],
            config=dict(run.config),
            allow_val_change=True,
            settings=wandb.Settings(
                console="off",
                silent=True,
                finish_timeout=self._wait,
                finish_timeout_raises=True,
            ),
        )

    def _log(self, values: dict[str, Any]) -> None:
        assert self._run is not None
        self._run.log(values)

    def _told(self, run: wandb.Run) -> str:
        from diswot.console import shown

        if run.url:
            return run.url
        if run.disabled:
            return "disabled; nothing is kept"
        parts = Path(run.settings.sync_dir).resolve().parent  # one a start of the run
        return f"offline; `wandb sync {quote(shown(parts))}/offline-run-*` sends it"
