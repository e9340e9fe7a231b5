"""The directory of one run, and the lock that keeps it to one live process."""

import fcntl
import json
import os
import socket
import warnings
import weakref
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, Generic, Self

from diswot.checks import whole
from diswot.config import MAY_GROW, difference, fingerprints, flatten
from diswot.errors import UnreadableError, UserError
from diswot.runs.files import Journal, R, read_json, replacing, sealed, write_json
from diswot.runs.listing import S, read_summary
from diswot.runs.records import ScoreRecord, Summary


class RunLock:
    """Held from `acquire` to `release`, or until the process ends in any way.

    The file names host and pid for people; what holds is the kernel's lock on it, which a dead
    process loses on any host, so that nothing is left to clean up after a kill.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[str] | None = None

    def acquire(self) -> None:
        """Take the lock; a `UserError` where another live process has it."""
        file = self.path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not self._is_at_path(file):
                file.close()  # removed by its last holder between our two steps
                self.acquire()
                return
            self._note_abandoned()
            file.truncate(0)
            json.dump({"host": socket.gethostname(), "pid": os.getpid()}, file)
            file.flush()
        except (BlockingIOError, PermissionError) as error:
            file.close()
            raise UserError(
                f"{self.path.parent} is in use by {self._holder()}; wait for it, stop it, or "
                "choose another hydra.run.dir"
            ) from error
        except OSError as error:
            with suppress(OSError):  # what it could not write it tries again
                file.close()
            error.filename = str(self.path)  # a full disk, or a file system without locks
            raise
        self._file = file
        leave = weakref.WeakMethod(self._leave)
        os.register_at_fork(after_in_child=lambda: (found := leave()) and found())

    def _leave(self) -> None:
        """In a forked process, such as one that loads images: it must not hold the lock."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def release(self) -> None:
        """Give the lock back; the file stays, since removing it could take another's."""
        if self._file is not None:
            with suppress(OSError):  # a broken disk: who takes it next says that it was left
                self._file.truncate(0)
            fcntl.flock(self._file, fcntl.LOCK_UN)
            self._leave()

    def _note_abandoned(self) -> None:
        """Say so where a process of another host took the lock and did not give it back.

        It was killed, or that host does not share its locks with this one.
        """
        with suppress(OSError, ValueError, KeyError, TypeError):
            owner = json.loads(self.path.read_text(encoding="utf-8"))
            if owner["host"] != socket.gethostname():
                warnings.warn(
                    f"{self.path.parent}: taken over from process {owner['pid']} on "
                    f"{owner['host']}, which was killed; if it still runs, stop one of the two: "
                    "the file system does not share locks between hosts",
                    stacklevel=2,
                )

    def _is_at_path(self, file: IO[str]) -> bool:
        try:
            return os.path.samestat(self.path.stat(), os.fstat(file.fileno()))
        except FileNotFoundError:
            return False

    def _holder(self) -> str:
        try:
            owner = json.loads(self.path.read_text(encoding="utf-8"))
            return f"process {owner['pid']} on {owner['host']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "another process"


class RunDir(Generic[R]):
    """Opens a run directory, which is made if need be, for one process; a context manager.

    The config is resolved; ``kind`` is that of its journal's records. An OSError says that the
    directory cannot be written.
    """

    def __init__(self, path: Path, config: Mapping[str, Any], kind: type[R]) -> None:
        self.path = path
        self._config = config
        self._kind: type[R] = kind
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
        """Lock the directory, then `compare_config`."""
        self._lock.acquire()
        try:
            self.compare_config()
            self._failure.unlink(missing_ok=True)
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Unlock; a directory in which nothing was begun is left as it was found.

        Of a run that has begun and ends by an error, ``failure.json`` says which.
        """
        try:
            self.journal.close()
            if error is not None and self.begun:
                failure = {
                    "schema": 1,
                    "type": type(error).__name__,
                    "error": (str(error).splitlines() or [""])[0],
                    "stopped": not isinstance(error, Exception),  # Ctrl-C, or asked to end
                }
                with suppress(OSError):  # a full disk: the error itself is what matters
                    write_json(self._failure, failure)
            if not self.begun:
                self._lock.path.unlink(missing_ok=True)
                with suppress(OSError):  # not empty: it was there before
                    self.path.rmdir()
        finally:
            self._lock.release()

    def begin(self) -> None:
        """Write the config, if it is not there yet or has grown; before the first candidate."""
        if self._grown or not self.begun:
            write_json(self._config_file, self._config)
            self._grown = False

    @property
    def begun(self) -> bool:
        """Whether a run has scored, or was about to score, its first candidate here."""
        return self._config_file.exists()

    def compare_config(self) -> None:
        """Refuse, with a `UserError`, a config that differs in more than what may grow."""
        if not self.begun:
            if self.journal.path.exists():
                raise UserError(
                    f"{self.path} holds {self.journal.path.name} but no config.json, so it is not "
                    "known what they were scored with; choose another hydra.run.dir"
                )
            return
        before: dict[str, Any] = self._config_before()
        further: dict[str, Any] = {}
        if self._kind is ScoreRecord:  # every proxy of a ranking has scores of its own
            scored = before.get("proxy") or {}
            further = {k: v for k, v in self._config["proxy"].items() if k not in scored}
            before |= {"proxy": {**scored, **further}}
        old, new = (dict(flatten(config)) for config in (before, self._config))
        growing = [key for key in MAY_GROW if new.get(key) is not None]
        growing += ["proxy"] * (self._kind is ScoreRecord)
        if changed := difference(before, self._config):
            shown = "; ".join(f"{key}: {was} → {now}" for key, was, now in changed[:6])
            more = f"; and {len(changed) - 6} more" if len(changed) > 6 else ""
            if {key for key, _, _ in changed} <= {*fingerprints(before)}:
                raise UserError(
                    f"{self.path} holds a run that was made of other files ({shown}{more}); put "
                    "these back, or choose another hydra.run.dir"
                )
            allowed = f"only {', '.join(growing)} may grow" if growing else "no setting may change"
            raise UserError(
                f"{self.path} holds a run with another config ({shown}{more}); {allowed}: choose "
                "another hydra.run.dir"
            )
        for key in MAY_GROW:
            was, now = old.get(key), new.get(key)
            if now is not None:
                whole(key, now, 1)
            if was != now and (not isinstance(was, int) or (now is not None and now < was)):
                raise UserError(
                    f"{self.path} holds a run with {key}={was}; it may grow, not become {now}"
                )
        self._grown = bool(further) or any(old.get(key) != new.get(key) for key in MAY_GROW)

    def _config_before(self) -> dict[str, Any]:
        """The config that is there, whose groups are groups as those of this run's."""
        remedy = "choose another hydra.run.dir"
        before = read_json(self._config_file, remedy)
        for key, value in self._config.items():
            if isinstance(value, Mapping) and not isinstance(before.get(key) or {}, Mapping):
                raise UnreadableError(self._config_file, f"{key} is no group", remedy=remedy)
        return before

    def load_state(self) -> dict[str, Any] | None:
        """The saved state, if there is one; a `UserError` if it is damaged."""
        file = self.path / "state.json"
        return read_json(file, self._rebuild) if file.exists() else None

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Replace the saved state: often, and it can be made anew of the journal."""
        text = json.dumps(state, allow_nan=False)
        with replacing(self.path / "state.json", ".state.json.tmp", synced=False) as file:
            file.write(sealed(text))

    def load_result(self, kind: type[S]) -> S | None:
        """The result, if the run has finished; an `UnreadableError` if it is of another kind."""
        file = self.path / "result.json"
        return read_summary(file, kind, self._rebuild) if file.exists() else None

    def save_result(self, summary: Summary) -> None:
        """Replace the result."""
        write_json(self.path / "result.json", asdict(summary))
