"""One live process a run directory."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import weakref
from pathlib import Path
from typing import IO

from diswot.errors import UserError

__all__ = ["RunLock"]


class RunLock:
    """Held from `acquire` to `release`, or until the process ends in any way.

    The file names host and pid for people; what holds is the kernel's lock on it, which a dead
    process loses on any host, so that nothing is left to clean up after a kill.

    Args:
        path: The lock file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            UserError: Another live process has it.
        """
        file = self._path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _holder(self._path)
            file.close()
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                error.filename = str(self._path)  # a file system without locks
                raise
            raise UserError(
                f"{self._path.parent} is in use by {holder}; wait for it, stop it, or choose "
                "another hydra.run.dir"
            ) from error
        if not _is_at(self._path, file):
            file.close()  # removed by its last holder between our two steps
            self.acquire()
            return
        try:
            file.truncate(0)
            json.dump({"host": socket.gethostname(), "pid": os.getpid()}, file)
            file.flush()
        except OSError:
            file.close()
            raise
        self._file = file
        leave = weakref.WeakMethod(self._leave)
        os.register_at_fork(after_in_child=lambda: (found := leave()) and found())

    def _leave(self) -> None:
        """In a forked process, such as one that loads images: it must not hold the lock."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def remove(self) -> None:
        """Remove the file, while holding the lock."""
        self._path.unlink(missing_ok=True)

    def release(self) -> None:
        """Give the lock back; the file stays, since removing it could take another's."""
        if self._file is not None:
            self._file.truncate(0)
            fcntl.flock(self._file, fcntl.LOCK_UN)
            self._file.close()
            self._file = None


def _is_at(path: Path, file: IO[str]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _holder(path: Path) -> str:
    try:
        owner = json.loads(path.read_text(encoding="utf-8"))
        return f"process {owner['pid']} on {owner['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
