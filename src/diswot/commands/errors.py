"""Errors of a command: one message and an exit code."""

import difflib
import io
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from diswot.errors import UserError

_EXTRAS = {"hydra/launcher/joblib": "joblib", "hydra/sweeper/optuna": "optuna"}
"""Choices that come with a package, and the extra that installs it."""


def exit_code(
    command: str,
    act: Callable[[], object],
    *,
    stopped: str = "Stopped.",
    debug: Callable[[], bool] = lambda: False,
) -> int:
    """Act for a command, and turn what goes wrong into one message.

    ``stopped`` is shown after a Ctrl-C that says nothing itself; with ``debug`` errors are raised.
    Gives 0, 2 for wrong input, 130 after Ctrl-C.
    """
    tolerant_streams()
    try:
        act()
    except KeyboardInterrupt as stop:
        sys.stderr.write(f"{str(stop) or stopped}\n")
        return 130
    except (UserError, OSError) as error:
        if debug():
            raise
        sys.stderr.write(f"diswot {command}: {message(error)}\n")
        return 2
    return 0


def tolerant_streams() -> None:
    """Print ``?`` for what a terminal cannot show: a missing × is no reason to fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def message(error: BaseException) -> str:
    """The error's text; Hydra keeps part of its own in the cause."""
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    missing = str(getattr(error, "missing_cfg_file", None))
    if missing.startswith("benchmark/"):
        known = ", ".join(getattr(error, "options", None) or ())
        return f"there is no benchmark {missing[10:]}; accuracies are known of {known}"
    if extra := _EXTRAS.get(missing):
        return f"{missing}: its package is not installed; pip install 'diswot[{extra}]'"
    if options := getattr(error, "options", None):
        group, _, name = missing.rpartition("/")
        return f"{group}={name}: there is no such choice; allowed: {', '.join(options)}"
    cause = error.__cause__
    if (key := getattr(cause, "full_key", None)) and "not in struct" in str(cause):
        return unknown_setting(key, [str(name) for name in cause.parent_node])  # type: ignore[union-attr]
    lines = [str(error).strip()]
    if cause is not None and not isinstance(error, UserError) and str(cause) not in lines[0]:
        lines.append(str(cause).strip())
    return "\n".join(line for line in lines if line) or type(error).__name__


def unknown_setting(key: str, known: Sequence[str]) -> str:
    """The text for a setting that is none of the ``known`` ones beside it."""
    above, _, name = key.rpartition(".")
    nearest = difflib.get_close_matches(name, known, n=5) or [k for k in known if k[0] != "_"]
    return (
        f"{key}: {above or 'the config'} has no setting {name}, but {', '.join(nearest) or 'none'}"
    )


@contextmanager
def hydra_errors() -> Iterator[None]:
    """Raise what Hydra and its launchers refuse as a `UserError`; errors of jobs stay as they are.

    Hydra's text lists what is allowed. With a bare ValueError it refuses a group that is given null
    or a number, and joblib its settings, such as ``n_jobs=0``.
    """
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(message(error)) from error
    except (ValueError, TypeError) as error:
        if str(error).startswith("Config group override"):
            raise UserError(f"{error}; give a name, or ~group to leave a group out") from error
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__")).partition(".")[0] != "joblib":
            raise
        raise UserError(
            f"hydra.launcher: joblib refuses its settings ({error}); hydra.launcher.n_jobs=2 "
            "runs two jobs at a time, -1 one a core"
        ) from error
