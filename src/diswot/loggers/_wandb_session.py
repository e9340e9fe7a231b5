"""What the wandb package does to a process, and how it is undone."""

from __future__ import annotations

import os
import re
import secrets
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from diswot.errors import UserError
from diswot.runs.files import write_atomic

__all__ = ["Session", "failures", "refusal", "run_id"]

_ID = "diswot-run-id"
_HELP = (
    "; give a valid key (`wandb login`, or WANDB_API_KEY) and a server that can be reached, or "
    "logger.wandb.mode=offline"
)


def failures() -> tuple[type[Exception], ...]:
    """What wandb raises when a key is refused, or when server or service are gone."""
    from wandb.errors import Error
    from wandb.sdk.mailbox import HandleAbandonedError, MailboxClosedError

    return Error, MailboxClosedError, HandleAbandonedError, ConnectionError, TimeoutError


def refusal(error: Exception) -> UserError:
    """One line on why a run could not be begun; without the key."""
    from wandb.errors import UsageError

    told = _without_key(str(error)).rstrip(".")[:300]
    return UserError(f"logger.wandb: {told}{'' if isinstance(error, UsageError) else _HELP}")


def _without_key(text: str) -> str:
    key = os.environ.get("WANDB_API_KEY", "").strip()
    line = " ".join(text.split())
    return line.replace(key, "…") if key else line


def run_id(folder: Path, name: str) -> str:
    """The id kept in a folder, else a new one.

    It is not made of the path alone: the same path on another machine is another run.
    """
    file = folder / _ID
    with suppress(FileNotFoundError):
        if kept := re.fullmatch(r"[\w.-]{1,64}\n", file.read_text(errors="replace")):
            return kept[0].strip()
    folder.mkdir(exist_ok=True)
    made = f"{re.sub(r'[^A-Za-z0-9_.-]', '-', name)[-55:]}-{secrets.token_hex(4)}"
    write_atomic(file, f"{made}\n".encode())
    return made


class Session:
    """The service process of one run, which takes nothing of the program's own use of wandb.

    Args:
        path: The run directory; what waits to be sent lies there, not in the home folder.
    """

    def __init__(self, path: Path) -> None:
        self._folder = path / "wandb"
        self._owned = "WANDB_SERVICE" not in os.environ
        self._set: list[str] = []
        self._hooks = sys.exit, sys.excepthook

    def open(self) -> None:
        """Let wandb read its settings.

        Raises:
            UserError: One of its variables or files is wrong.
        """
        for name, value in (
            ("WANDB_DATA_DIR", str(self._folder.resolve())),
            ("WANDB_ERROR_REPORTING", "false"),
        ):
            if name not in os.environ:
                os.environ[name] = value
                self._set.append(name)
        import wandb

        try:
            if self._owned:
                wandb.setup(settings=wandb.Settings(silent=True))
        except ValueError as error:  # its text may show a key
            raise UserError(
                f"logger.wandb: wandb refuses its settings ({_without_key(_told(error))}); see the "
                "variables WANDB_* and its settings file"
            ) from None

    def mode(self, wanted: str) -> str | None:
        """``auto`` made a mode of wandb's; None: as WANDB_MODE says."""
        if wanted != "auto":
            return wanted
        if os.environ.get("WANDB_MODE"):
            return None
        return "online" if _has_key() else "offline"

    def close(self) -> None:
        """End the service process and put back what wandb replaced."""
        try:
            if self._owned and "wandb" in sys.modules:
                import wandb

                with suppress(*failures()):
                    wandb.teardown()
        finally:
            sys.exit, sys.excepthook = self._hooks
            for name in self._set + (["WANDB_SERVICE"] if self._owned else []):
                os.environ.pop(name, None)


def _told(error: ValueError) -> str:
    """What a validation error says, without the values it is about."""
    found: list[dict[str, Any]] = getattr(error, "errors", list)()
    return "; ".join(f"{each['loc'][0]}: {each['msg']}" for each in found if each.get("loc"))


def _has_key() -> bool:
    """Whether wandb would find credentials for its server."""
    import wandb
    from requests.utils import get_netrc_auth

    settings = wandb.setup().settings
    if settings.api_key or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    return bool(urlsplit(settings.base_url).hostname and get_netrc_auth(settings.base_url))
