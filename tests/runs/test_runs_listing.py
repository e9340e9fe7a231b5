"""Runs are found and read whatever state they are in."""

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


def test_finished_runs_are_found_from_above(tmp_path: Path) -> None:
    folder(tmp_path / "sweep" / "one", config={"strategy": {}}, result=SEARCH)
    folder(tmp_path / "two", config={"trainer": {"name": "short"}}, result=TRAINED_BEFORE)
    search, training = find_runs([tmp_path, tmp_path / "two"])
    assert (search.command, search.state, search.problem) == ("search", "finished", None)
    assert isinstance(search.summary, SearchSummary)
    assert search.result["arch"] == search.summary.arch == "s0:1-1-1"
    assert isinstance(training.summary, TrainSummary)
    assert training.summary.protocol == "short"  # of an older version
    with pytest.raises(UserError, match="is no folder"):
        find_runs([tmp_path / "none"])


def test_every_kind_is_told_apart(tmp_path: Path) -> None:
    failure = {"schema": 1, "type": "UserError", "error": "no such thing", "stopped": False}
    folder(tmp_path / "a", config={"trainer": {}})
    folder(tmp_path / "b", config={"strategy": {}})
    folder(tmp_path / "c", config={"seeds": 3})
    folder(tmp_path / "d", config={"shard": "1/2", "seeds": 1})
    folder(tmp_path / "e", config={"strategy": {}}, failure=failure)
    folder(tmp_path / "f", config={"strategy": {}}, failure={**failure, "stopped": True})
    folder(tmp_path / "g", result={"loss": 0.1})
    (folder(tmp_path / "h") / "candidates.jsonl").write_text("")  # without a config
    for name in ("notes/deep", ".cache", "teacher_cache"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "loop").symlink_to(tmp_path)
    found = find_runs([tmp_path])
    assert [(run.path.name, run.command, run.state) for run in found] == [
        *(("a", "train", "unfinished"), ("b", "search", "unfinished")),
        *(("c", "rank", "unfinished"), ("d", "rank", "shard")),
        *(("e", "search", "failed"), ("f", "search", "stopped")),
        *(("g", "", "foreign"), ("h", "search", "damaged"), ("notes", "", "foreign")),
    ]
    assert found[4].problem == "no such thing"


def test_a_live_process_is_running_and_a_dead_one_is_not(tmp_path: Path) -> None:
    def state(pid: object, host: str = socket.gethostname()) -> tuple[str, str]:
        (tmp_path / "run.lock").write_text(f'{{"host": "{host}", "pid": {pid}}}')
        return only(tmp_path).state, only(tmp_path).command

    assert state(os.getpid()) == ("running", "")
    folder(tmp_path, config={"strategy": {}})
    assert state(os.getpid()) == ("running", "search")
    for dead in (2**22 - 1, "1e30", "0", "-1", "null", "["):
        assert state(dead) == ("unfinished", "search")
    assert state(7, "elsewhere") == ("running", "search")
    assert "elsewhere" in str(only(tmp_path).problem)


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
