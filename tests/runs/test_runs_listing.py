"""Runs are found and read whatever state they are in."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diswot.errors import UnreadableError, UserError
from diswot.runs import Run, SearchSummary, TrainSummary, find_runs, read_similarity

SEARCH = {
    **{"space": "s0", "arch": "s0:1-1-1", "score": 1.0, "params": 1, "flops": 2, "seed": 0},
    **{"proxy": "nwot", "strategy": "random", "top": [], "evaluated": 1, "distinct": 1},
    **{"rejected": 0, "exhausted": False, "seconds": 1, "candidates_per_second": 1.0},
    **{"teacher": None, "data": "gaussian", "num_classes": 10},
}
TRAINED_BEFORE = {
    **{"student": "resnet8", "teacher": None, "distiller": [], "data": "gaussian", "epochs": 1},
    **{"trainer": "short", "test_top1": 50, "test_top5": 90.0, "best_val_top1": 50.0, "seed": 0},
    **{"validated_on": "test", "params": 1, "flops": 2, "images_per_second": 1, "seconds": 1},
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
    assert isinstance(run.summary, SearchSummary)
    assert run.result["arch"] == run.summary.arch == "s0:1-1-1"


def test_a_training_of_an_older_version_is_read(tmp_path: Path) -> None:
    folder(tmp_path, config={"trainer": {"name": "short"}}, result=TRAINED_BEFORE)
    summary = only(tmp_path).summary
    assert isinstance(summary, TrainSummary)
    assert summary.protocol == "short"


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


@pytest.mark.parametrize("pid", ["1e30", "0", "-1", "null", "["])
def test_a_damaged_lock_is_no_process(tmp_path: Path, pid: str) -> None:
    folder(tmp_path, config={"strategy": {}})
    text = f'{{"host": "{socket.gethostname()}", "pid": {pid}}}'
    (tmp_path / "run.lock").write_text(text)
    assert only(tmp_path).state == "unfinished"


@pytest.mark.parametrize(
    ("text", "problem"),
    [("{", "Expecting"), ("[]", "no JSON object"), ('{"schema":1,"space":"s0"}', "`arch`")],
)
def test_a_damaged_file_is_reported(tmp_path: Path, text: str, problem: str) -> None:
    folder(tmp_path, config={"strategy": {}}, result=text)
    run = only(tmp_path)
    assert (run.state, run.command, run.summary) == ("damaged", "search", None)
    assert "result.json cannot be read: " in str(run.problem)
    assert problem in str(run.problem)


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


def test_similarity_matrices_come_in_pairs(tmp_path: Path) -> None:
    assert read_similarity(tmp_path) == {}
    np.savez(
        tmp_path / "similarity.npz", semantic_teacher=np.eye(2), semantic_student=np.ones((2, 2))
    )
    teacher, student = read_similarity(tmp_path)["semantic"]
    assert (teacher.sum(), student.sum()) == (2, 4)


@pytest.mark.parametrize("matrix", [np.eye(2, dtype=int), np.ones(4), np.eye(3), None])
def test_other_matrices_are_damage(matrix: Any, tmp_path: Path) -> None:
    pair = {"relation_teacher": np.eye(2)} | (
        {} if matrix is None else {"relation_student": matrix}
    )
    np.savez(tmp_path / "similarity.npz", **pair)
    with pytest.raises(UnreadableError, match="relation"):
        read_similarity(tmp_path)


def test_pickles_in_similarity_are_not_opened(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (tmp_path / "ran",)

    np.savez(tmp_path / "similarity.npz", relation_teacher=np.array([Evil()], object))
    with pytest.raises(UnreadableError, match="is damaged"):
        read_similarity(tmp_path)
    assert not (tmp_path / "ran").exists()
