"""What makes two runs the same run, what a run directory refuses, and its lock."""

import errno
import io
import json
import os
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from diswot.config import difference, flatten, identity
from diswot.errors import UserError
from diswot.runs import CandidateRecord, RankSummary, RunDir, SearchSummary
from diswot.runs.run_dir import RunLock

Config = dict[str, Any]
RECORD = CandidateRecord("a", 1.0, {}, {}, 1, 1, 1, "ok", None, 0, False, 0.0)


def config(**changes: Any) -> Config:
    base: Config = {
        "seed": 0,
        "workers": 1,
        "debug": False,
        "budget": {"params": 1_000_000, "flops": None},
        "proxy": {"nwot": {"name": "nwot"}, "params": {"name": "params"}},
        "strategy": {"name": "random", "evaluations": 20},
    }
    return {**base, **changes}


def test_differences_have_name_old_and_new() -> None:
    assert difference(config(), config(budget={"params": 1e6, "flops": None})) == []
    assert dict(flatten({"a": {"b": 2.0, "c": {}}, "d": [1.0]})) == {"a.b": 2, "a.c": {}, "d": [1]}
    swapped = config(proxy=dict(reversed(config()["proxy"].items())))
    assert difference(config(), swapped) == [("proxy", ["nwot", "params"], ["params", "nwot"])]
    new = config(seed=1, budget={"params": 1_000_000, "layers": 3})
    assert difference(config(), new) == [
        ("budget.flops", None, "(not set)"),
        ("budget.layers", "(not set)", 3),
        ("seed", 0, 1),
    ]


@pytest.mark.parametrize("key", ["workers", "debug", "logger", "hydra"])
def test_settings_that_change_no_result_are_ignored(key: str) -> None:
    assert difference(config(), config(**{key: "other"})) == []
    assert identity(config()) == identity(config(**{key: {"deep": 3}}))


def opened(path: Path, settings: Config) -> None:
    with RunDir(path, settings, CandidateRecord) as run_dir:
        run_dir.begin()


def evaluations(value: object) -> Config:
    return config(strategy={"name": "random", "evaluations": value})


def test_the_config_is_written_once_and_may_only_grow(tmp_path: Path) -> None:
    opened(tmp_path, config())
    first = (tmp_path / "config.json").read_bytes()
    opened(tmp_path, config(workers=7, debug=True))
    assert (tmp_path / "config.json").read_bytes() == first
    opened(tmp_path, evaluations(40))
    assert json.loads((tmp_path / "config.json").read_bytes())["strategy"]["evaluations"] == 40
    with pytest.raises(UserError, match=r"strategy.evaluations=40; it may grow, not become 20"):
        opened(tmp_path, evaluations(20))
    with pytest.raises(UserError, match=r"another config \(seed: 0 → 1\)"):
        opened(tmp_path, config(seed=1, strategy={"name": "random", "evaluations": 40}))
    with pytest.raises(UserError, match=r"0: \(not set\) → 0; .*; and 3 more\); only strategy"):
        opened(tmp_path, {**evaluations(40), "data": {str(n): n for n in range(9)}})
    opened(tmp_path, evaluations(40))  # a refused run directory is unlocked


@pytest.mark.parametrize("text", ["{", "[]", ""])
def test_a_damaged_or_missing_config_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"config.json is damaged .* choose another hydra.run.dir"):
        opened(tmp_path, config())
    assert (tmp_path / "config.json").read_text() == text
    (tmp_path / "config.json").rename(tmp_path / "candidates.jsonl")
    with pytest.raises(UserError, match=r"no config.json"):
        opened(tmp_path, config())


def test_the_lock_is_given_back_when_the_journal_cannot_be_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.BytesIO):
        """A file on a full disk: flushing fails, and so does the flush inside close."""

        def flush(self) -> NoReturn:
            raise OSError(errno.ENOSPC, "No space left on device")

        close: Callable[[], None] = flush  # type: ignore[assignment]

    with RunDir(tmp_path, config(), CandidateRecord) as run_dir:
        monkeypatch.setattr(run_dir.journal, "_file", Full())
        with pytest.raises(OSError, match="No space left"):
            run_dir.journal.append(RECORD)
        with pytest.raises(OSError, match="No space left"):
            run_dir.__exit__(None, None, None)
        monkeypatch.setattr(run_dir.journal, "_file", None)
        opened(tmp_path, config())


def test_state_and_result(tmp_path: Path) -> None:
    with RunDir(tmp_path, config(), CandidateRecord) as run_dir:
        assert run_dir.load_state() is None
        assert run_dir.load_result(RankSummary) is None
        run_dir.save_state({"schema": 1})
        summary = RankSummary(space="s0", teacher="none", n=64, seeds=[0, 1])
        run_dir.save_result(summary)
        assert run_dir.load_state() == {"schema": 1}
        assert run_dir.load_result(RankSummary) == summary
        with pytest.raises(UserError, match=r"result.json is damaged .*`arch`.* remove this file"):
            run_dir.load_result(SearchSummary)
        (tmp_path / "state.json").write_text('{"schema":2,"crc32":1}')
        with pytest.raises(
            UserError, match=r"state.json is damaged .*checksum .* remove this file"
        ):
            run_dir.load_state()
        (tmp_path / "state.json").write_text("{")
        with pytest.raises(UserError, match=r"state.json is damaged .* remove this file"):
            run_dir.load_state()


def end_by(run_dir: RunDir[CandidateRecord], error: BaseException) -> None:
    with run_dir:
        run_dir.begin()
        raise error


def test_a_begun_run_that_ends_by_an_error_says_which(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path / "run", config(), CandidateRecord)
    failure = tmp_path / "run" / "failure.json"
    with pytest.raises(ValueError, match="first line"):
        end_by(run_dir, ValueError("first line\nsecond line"))
    assert json.loads(failure.read_text()) == {
        **{"schema": 1, "type": "ValueError"},
        **{"error": "first line", "stopped": False},
    }
    with RunDir(tmp_path / "run", config(), CandidateRecord):
        assert not failure.exists()
    with pytest.raises(KeyboardInterrupt):
        end_by(RunDir(tmp_path / "run", config(), CandidateRecord), KeyboardInterrupt())
    assert json.loads(failure.read_text())["stopped"]


HOLDER = """
import sys, time
from pathlib import Path
from diswot.runs.run_dir import RunLock
lock = RunLock(Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
time.sleep(60)
"""


def test_another_process_is_refused_until_the_holder_is_killed(tmp_path: Path) -> None:
    lock = RunLock(tmp_path / "run.lock")
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run.lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        owner = f"process {holder.pid} on {socket.gethostname()}"
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=rf"{tmp_path} is in use by {owner}.*hydra\.run\.dir"):
            lock.acquire()
        assert str(holder.pid) in (tmp_path / "run.lock").read_text()  # a refusal changes nothing
        (tmp_path / "run.lock").write_text("?")
        with pytest.raises(UserError, match="in use by another process"):
            lock.acquire()
        holder.kill()
    lock.acquire()
    assert json.loads((tmp_path / "run.lock").read_text())["pid"] == os.getpid()
    lock.release()
    lock.release()  # twice does no harm


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


class Broken(io.TextIOWrapper):
    """A file on a disk that cannot be written any more."""

    def truncate(self, size: int | None = None) -> NoReturn:
        raise OSError(errno.EIO, "Input/output error")


def test_a_broken_disk_does_not_keep_the_lock(tmp_path: Path) -> None:
    lock = RunLock(tmp_path / "run.lock")
    lock.acquire()
    assert lock._file is not None
    lock._file = Broken(lock._file.detach())  # type: ignore[attr-defined]
    lock.release()
    RunLock(tmp_path / "run.lock").acquire()


HOST = "import socket; socket.sethostname('otherhost')\n"
OTHER = ["unshare", "--user", "--map-root-user", "--uts", "--net", sys.executable, "-c"]


def test_another_host_is_refused_and_what_it_left_taken_over(tmp_path: Path) -> None:
    """A host is a process that has its own name and network; both see one file system."""
    lock, command = RunLock(tmp_path / "run.lock"), [*OTHER, HOST + HOLDER]
    if subprocess.run([*OTHER, HOST], capture_output=True, check=False).returncode:
        pytest.skip("unshare gives no namespaces here")
    with subprocess.Popen(
        [*command, str(tmp_path / "run.lock")], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=rf"is in use by process {holder.pid} on otherhost; wa"):
            lock.acquire()
        holder.kill()
    with pytest.warns(UserWarning, match=rf"taken over from process {holder.pid} on otherhost"):
        lock.acquire()
    lock.release()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lock.acquire()  # given back, so nobody is named
