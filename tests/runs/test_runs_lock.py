"""One live process a run directory."""

import errno
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from diswot.errors import UserError
from diswot.runs.run_dir import RunLock

HOLDER = """
import sys, time
from pathlib import Path
from diswot.runs.run_dir import RunLock
lock = RunLock(Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
time.sleep(60)
"""


def test_a_second_holder_is_refused_and_told_of_the_first(tmp_path: Path) -> None:
    first, second = RunLock(tmp_path / "run.lock"), RunLock(tmp_path / "run.lock")
    first.acquire()
    owner = f"process {os.getpid()} on {socket.gethostname()}"
    with pytest.raises(UserError, match=rf"{tmp_path} is in use by {owner}.*hydra\.run\.dir"):
        second.acquire()
    first.release()
    second.acquire()
    assert json.loads((tmp_path / "run.lock").read_text())["pid"] == os.getpid()
    second.release()
    second.release()  # twice does no harm


def test_another_process_is_refused_until_the_holder_is_killed(tmp_path: Path) -> None:
    lock = RunLock(tmp_path / "run.lock")
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run.lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=rf"in use by process {holder.pid} on "):
            lock.acquire()
        assert str(holder.pid) in (tmp_path / "run.lock").read_text()  # a refusal changes nothing
        (tmp_path / "run.lock").write_text("?")
        with pytest.raises(UserError, match="in use by another process"):
            lock.acquire()
        holder.kill()
    lock.acquire()
    lock.release()


def test_a_full_disk_does_not_keep_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(json, "dump", full)
        with pytest.raises(OSError, match="No space left"):
            RunLock(tmp_path / "run.lock").acquire()
    RunLock(tmp_path / "run.lock").acquire()


def test_a_forked_process_does_not_hold_the_lock(tmp_path: Path) -> None:
    """As those that load images, which may outlive the run for a while."""
    lock = RunLock(tmp_path / "run.lock")
    lock.acquire()
    (wait, go), (heard, begun) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.write(begun, b".")
        os.read(wait, 1)
        os._exit(0)
    os.read(heard, 1)
    try:
        assert lock._file is not None
        lock._file.close()  # as the end of the process would, without unlocking
        again = RunLock(tmp_path / "run.lock")
        again.acquire()
        again.release()
    finally:
        os.write(go, b".")
        os.waitpid(child, 0)
