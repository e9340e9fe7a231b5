"""Lightning's ``WandbLogger`` around a W&B run that is ours to begin, go on with and end.

Lightning alone takes up any run in progress, asks for a key, and forgets its run after a stop.
"""

from __future__ import annotations

import os
import re
import secrets
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from diswot.checks import choice
from diswot.console import print_pairs, shown
from diswot.errors import UserError
from diswot.runs.files import write_atomic

if TYPE_CHECKING:
    import pandas as pd
    from lightning.pytorch.loggers import WandbLogger

    from diswot.loggers import LoggedRun


_LIGHTNING = ("log_model", "prefix", "checkpoint_name", "add_file_policy")  # not wandb.init's
_SETTINGS = {"console": "off", "silent": True, "finish_timeout_raises": True}


def check_settings(name: str, node: Mapping[str, Any]) -> None:
    """Refuse the settings of a logger, or a missing package, with a `UserError`."""
    if find_spec("wandb") is None:
        raise UserError(f"logger={name} needs a package: pip install wandb")
    if not str(node.get("project") or "").strip():
        advice = "give a name, or leave out both it and WANDB_PROJECT"
        raise UserError(f"logger.{name}.project is empty; {advice}")
    choice(f"logger.{name}.mode", node.get("mode") or "auto", ("auto", "online", "offline"))


@contextmanager
def wandb_logger(
    name: str, node: Mapping[str, Any], run: LoggedRun, *, quiet: bool
) -> Iterator[WandbLogger]:
    """Begin a W&B run, or go on with it; wandb's service process ends with the context.

    ``node`` is the logger's config: arguments of ``WandbLogger`` and of ``wandb.init``. A refused
    key, a server that cannot be reached or a wrong setting raises `UserError`.
    """
    from hydra.utils import get_class

    def show(line: str) -> None:
        if not quiet:
            print_pairs({name: line})

    given = {key: value for key, value in node.items() if value is not None}
    target, offline, mode = (given.pop(key, None) for key in ("_target_", "offline", "mode"))
    lightning = {key: given.pop(key) for key in _LIGHTNING if key in given}
    given.setdefault("dir", given.pop("save_dir", str(run.path)))
    with _session(run.path / "wandb"):
        try:
            import wandb

            if "WANDB_SERVICE" not in os.environ:
                wandb.setup(settings=wandb.Settings(silent=True))
            given["mode"] = "offline" if offline else _mode(mode or "auto")
            given["settings"] = wandb.Settings(**{**_SETTINGS, **given.get("settings", {})})
            if given["mode"] in ("online", "shared"):
                show("connecting to W&B …")
            names = {"name": run.name[-128:], "group": (run.group or "")[-128:] or None}  # limits
            own = {"id": _run_id(run), "job_type": run.command, "tags": [t[:64] for t in run.tags]}
            given = {**own, **names, **given}
            experiment = wandb.init(**given, resume="allow", reinit="create_new")
        except Exception as error:
            raise _refusal(name, error) from None
        experiment.define_metric(run.axis)
        experiment.define_metric("*", step_metric=run.axis)
        folder = Path(experiment.settings.sync_dir).resolve().parent  # holds one folder a start
        sync = f"offline; `wandb sync {quote(shown(folder))}/offline-run-*` sends it"
        show(experiment.url or ("disabled; nothing is kept" if experiment.disabled else sync))
        lightning |= {"project": given["project"], "save_dir": given["dir"]}
        yield get_class(target)(experiment=experiment, **lightning)


def _mode(setting: str) -> str:
    """Mode of wandb's: ``auto`` is online where credentials for its server are found."""
    if setting != "auto":
        return setting
    import wandb
    from requests.utils import get_netrc_auth

    settings = wandb.setup().settings
    key = settings.api_key or os.environ.get("WANDB_IDENTITY_TOKEN_FILE")
    credentials = key or get_netrc_auth(settings.base_url)
    return os.environ.get("WANDB_MODE") or ("online" if credentials else "offline")


def _run_id(run: LoggedRun) -> str:
    """The id kept in the run directory, else a new one, also for the same path elsewhere."""
    file = run.path / "wandb" / "diswot-run-id"
    if not file.exists():
        new = f"{re.sub(r'[^A-Za-z0-9_.-]', '-', run.name)[-55:]}-{secrets.token_hex(4)}"
        file.parent.mkdir(exist_ok=True)
        write_atomic(file, f"{new}\n".encode())
    return file.read_text().strip()


@contextmanager
def _session(folder: Path) -> Iterator[None]:
    """Undo what wandb does to the process; what waits to be sent lies in the run directory."""
    defaults = {"WANDB_DATA_DIR": str(folder.resolve()), "WANDB_ERROR_REPORTING": "false"}
    added = {name: value for name, value in defaults.items() if name not in os.environ}
    owned = "WANDB_SERVICE" not in os.environ  # else the program uses wandb itself
    hooks = sys.exit, sys.excepthook
    os.environ.update(added)
    try:
        yield
    finally:
        if owned and "wandb" in sys.modules:
            with suppress(Exception):
                sys.modules["wandb"].teardown()
            os.environ.pop("WANDB_SERVICE", None)
        sys.exit, sys.excepthook = hooks
        for name in added:
            os.environ.pop(name, None)


def _refusal(name: str, error: Exception) -> UserError:
    """One line on why a run could not be begun, without the key."""
    from wandb.errors import UsageError

    text, hint = str(error), ""
    if details := getattr(error, "errors", None):  # of pydantic, whose text may show a key
        faults = "; ".join(f"{each['loc'][0]}: {each['msg']}" for each in details() if each["loc"])
        text = f"wandb refuses its settings ({faults}); see the variables WANDB_* and its file"
    elif not isinstance(error, UsageError):
        key = "; give a valid key (`wandb login`, or WANDB_API_KEY)"
        hint = f"{key} and a server that can be reached, or logger.{name}.mode=offline"
    text = " ".join(text.split())
    if secret := os.environ.get("WANDB_API_KEY", "").strip():
        text = text.replace(secret, "…")
    return UserError(f"logger.{name}: {text.rstrip('.')[:300]}{hint}")


def loggable(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table that W&B takes, with None where there is no value."""
    import wandb

    if len(table) > (limit := wandb.Table.MAX_ROWS):  # more are cut off without a word
        kept = f"W&B gets the first {limit:,} of {len(table):,} rows of {name}"
        warnings.warn(f"logger wandb: {kept}; all are in the run directory", stacklevel=1)
    rows = table.head(limit).astype(object)
    return rows.where(rows.notna(), None)
