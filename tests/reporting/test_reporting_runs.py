"""Runs are found and read whatever state they are in."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from diswot.errors import UserError
from diswot.runs import Run, find_runs

SEARCH = {
    **{"space": "s0", "arch": "s0:1-1-1", "score": 1.0, "params": 1, "flops": 2, "seed": 0},
    **{"proxy": "nwot", "strategy": "random", "top": []},
}


def folder(path: Path, **files: Any) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        text = value if isinstance(value, str) else json.dumps(value)
        (path / f"{name}.json").write_text(text)
    return path


def only(path: Path) -> Run:
    (run,) = find_runs([path])
    return run


def test_a_finished_search_is_found_from_above(tmp_path: Path) -> None:
    folder(tmp_path / "sweep" / "one", config={"strategy": {}}, result=SEARCH)
    run = only(tmp_path)
    assert (run.command, run.state, run.problem) == ("search", "finished", None)
    assert run.result["arch"] == "s0:1-1-1"


def test_every_kind_is_told_apart(tmp_path: Path) -> None:
    folder(tmp_path / "a", config={"trainer": {}})
    folder(tmp_path / "b", config={"strategy": {}})
    folder(tmp_path / "c", config={"seeds": 3})
    folder(tmp_path / "d", config={"shard": "1/2", "seeds": 1})
    found = [(run.command, run.state) for run in find_runs([tmp_path])]
    assert found == [
        *(("train", "unfinished"), ("search", "unfinished")),
        *(("rank", "unfinished"), ("rank", "shard")),
    ]


def test_a_failure_says_why(tmp_path: Path) -> None:
    failure = {"schema": 1, "type": "UserError", "error": "no such thing", "stopped": False}
    folder(tmp_path, config={"strategy": {}}, failure=failure)
    assert (only(tmp_path).state, only(tmp_path).problem) == ("failed", "no such thing")
    folder(tmp_path, failure={**failure, "stopped": True})
    assert only(tmp_path).state == "stopped"


def test_a_live_process_is_running_and_a_dead_one_is_not(tmp_path: Path) -> None:
    folder(tmp_path, config={"strategy": {}})
    lock = tmp_path / "run.lock"
    lock.write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}))
    assert only(tmp_path).state == "running"
    lock.write_text(json.dumps({"host": socket.gethostname(), "pid": 2**22 - 1}))
    assert only(tmp_path).state == "unfinished"
    (tmp_path / "config.json").rename(tmp_path / "later")
    lock.write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}))
    assert (only(tmp_path).state, only(tmp_path).command) == ("running", "")
    (tmp_path / "later").rename(tmp_path / "config.json")
    lock.write_text(json.dumps({"host": "elsewhere", "pid": 7}))
    assert "elsewhere" in str(only(tmp_path).problem)


@pytest.mark.parametrize("pid", ["1e30", "Infinity", "0", "-1", "null", "[" * 100_000])
def test_a_damaged_lock_is_no_process(tmp_path: Path, pid: str) -> None:
    folder(tmp_path, config={"strategy": {}})
    text = f'{{"host": "{socket.gethostname()}", "pid": {pid}}}'
    (tmp_path / "run.lock").write_text(text)
    assert only(tmp_path).state == "unfinished"


def test_a_pipe_in_place_of_a_lock_is_not_waited_for(tmp_path: Path) -> None:
    folder(tmp_path, config={"strategy": {}})
    os.mkfifo(tmp_path / "run.lock")
    assert only(tmp_path).state == "unfinished"


@pytest.mark.parametrize("text", ["{", "[]", "\0" * 9, "[" * 100_000])
def test_a_damaged_file_is_reported(tmp_path: Path, text: str) -> None:
    folder(tmp_path, config={"strategy": {}}, result=text)
    run = only(tmp_path)
    assert (run.state, run.command) == ("damaged", "search")
    assert "result.json" in str(run.problem)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    folder(tmp_path, config={"strategy": {}})
    with (tmp_path / "result.json").open("wb") as file:
        file.truncate(2**30)
    assert "larger than" in str(only(tmp_path).problem)


def test_a_result_that_lacks_numbers_is_damaged(tmp_path: Path) -> None:
    folder(tmp_path, config={"strategy": {}}, result={"schema": 1, "space": "s0"})
    assert "lacks arch" in str(only(tmp_path).problem)


def test_a_journal_without_a_config_is_damaged(tmp_path: Path) -> None:
    folder(tmp_path)
    (tmp_path / "candidates.jsonl").write_text("")
    assert (only(tmp_path).state, only(tmp_path).command) == ("damaged", "search")


def test_what_others_wrote_is_foreign(tmp_path: Path) -> None:
    folder(tmp_path / "theirs", result={"loss": 0.1})
    (tmp_path / "loop").symlink_to(tmp_path)
    assert only(tmp_path).state == "foreign"


def test_a_folder_without_a_run_is_foreign(tmp_path: Path) -> None:
    folder(tmp_path / "run", config={"strategy": {}})
    (tmp_path / "notes" / "deep").mkdir(parents=True)
    (tmp_path / ".cache").mkdir()
    (tmp_path / "teacher_cache").mkdir()
    assert [run.state for run in find_runs([tmp_path])] == ["foreign", "unfinished"]


def test_a_path_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no folder"):
        find_runs([tmp_path / "none"])
