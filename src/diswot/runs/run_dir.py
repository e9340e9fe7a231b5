"""The directory of one run."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from diswot.checks import whole
from diswot.errors import UserError
from diswot.config import MAY_GROW, difference
from diswot.runs.files import read_json, write_json
from diswot.runs.journal import Epoch, Journal, Record, Scored
from diswot.runs.lock import RunLock

__all__ = ["RunDir"]


R = TypeVar("R", Record, Scored, Epoch)


class RunDir(Generic[R]):
    """Opens a run directory for one process; a context manager.

    Args:
        path: Made if it is not there.
        config: The resolved config of the run.
        kind: Of the records of its journal.

    Raises:
        UserError: Another process is at work here, or another config was.
        OSError: The directory cannot be written.
    """

    def __init__(self, path: Path, config: Mapping[str, Any], kind: type[R]) -> None:
        self.path = path
        self._config = config
        path.mkdir(parents=True, exist_ok=True)
        self._config_file = path / "config.json"
        self._failure = path / "failure.json"
        self._grown = False
        self._lock = RunLock(path / "run.lock")
        self.journal: Journal[R] = Journal(path / kind.file, kind)
        self._rebuild = (
            f"{kind.file} holds all that was measured: remove this file and run the same command, "
            "which makes it anew"
        )

    def __enter__(self) -> Self:
        """Lock, and compare the config with the one that is there.

        Raises:
            UserError: See the class.
        """
        self._lock.acquire()
        try:
            self.compare_config()
            self._failure.unlink(missing_ok=True)
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Unlock; a directory in which nothing was begun is left as it was found.

        Of a run that has begun and ends by an error, ``failure.json`` says which.
        """
        try:
            self.journal.close()
            if error is not None and self.begun:
                with suppress(OSError):  # a full disk: the error itself is what matters
                    write_json(self._failure, _described(error))
            if not self._config_file.exists():
                self._lock.remove()
                with suppress(OSError):  # not empty: it was there before
                    self.path.rmdir()
        finally:
            self._lock.release()

    def begin(self) -> None:
        """Write the config, if it is not there yet or has grown; before the first candidate."""
        if self._grown or not self._config_file.exists():
            write_json(self._config_file, self._config)
            self._grown = False

    @property
    def begun(self) -> bool:
        """Whether a run has scored, or was about to score, its first candidate here."""
        return self._config_file.exists()

    def compare_config(self) -> None:
        """Compare the config with the one that is there.

        Raises:
            UserError: They differ in more than what may grow.
        """
        if self._config_file.exists():
            before = read_json(self._config_file, "choose another hydra.run.dir")
            self._refuse_change(before)
            self._grown = any(
                _select(before, key) != _select(self._config, key) for key in MAY_GROW
            )
        elif self.journal.path.exists():
            raise UserError(
                f"{self.path} holds {self.journal.path.name} but no config.json, so it is not "
                "known what they were scored with; choose another hydra.run.dir"
            )

    def _refuse_change(self, before: Mapping[str, Any]) -> None:
        changed = difference(before, self._config)
        if changed:
            shown = "; ".join(f"{key}: {old} → {new}" for key, old, new in changed[:6])
            more = f"; and {len(changed) - 6} more" if len(changed) > 6 else ""
            growing = ", ".join(key for key in MAY_GROW if _select(self._config, key) is not None)
            allowed = f"only {growing} may grow" if growing else "no setting may change"
            raise UserError(
                f"{self.path} holds a run with another config ({shown}{more}); {allowed}: choose "
                "another hydra.run.dir"
            )
        for key in MAY_GROW:
            old, new = _select(before, key), _select(self._config, key)
            if new is not None:
                new = whole(key, new, 1)
            if old != new and (old is None or (new is not None and new < old)):
                raise UserError(
                    f"{self.path} holds a run with {key}={old}; it may grow, not become {new}"
                )

    def load_state(self) -> dict[str, Any] | None:
        """The saved state, if there is one.

        Raises:
            UserError: It is damaged.
        """
        file = self.path / "state.json"
        return read_json(file, self._rebuild) if file.exists() else None

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Replace the saved state."""
        write_json(self.path / "state.json", state)

    def load_result(self, keys: Collection[str] = ()) -> dict[str, Any] | None:
        """The result, if the run has finished.

        Args:
            keys: What it must hold.

        Raises:
            UserError: It is damaged.
        """
        file = self.path / "result.json"
        if not file.exists():
            return None
        result = read_json(file, self._rebuild)
        if missing := sorted({"schema", *keys} - set(result)):
            raise UserError(f"{file} is damaged (it lacks {', '.join(missing)}); {self._rebuild}")
        return result

    def save_result(self, result: Mapping[str, Any]) -> None:
        """Replace the result."""
        write_json(self.path / "result.json", result)


def _described(error: BaseException) -> dict[str, Any]:
    return {
        "schema": 1,
        "type": type(error).__name__,
        "error": (str(error).splitlines() or [""])[0],
        "stopped": not isinstance(error, Exception),  # Ctrl-C, or asked to end
    }


def _select(config: Mapping[str, Any], key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
