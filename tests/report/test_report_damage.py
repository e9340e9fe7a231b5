"""Wrong input: what is said and refused, and what is said and left out."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from report_helpers import configured, copied, make_train, read

from diswot import cli
from diswot.report import main
from diswot.reporting.page import reading
from diswot.reporting.page.accuracies import known_accuracies
from diswot.reporting.page.matrices import similarity
from diswot.runs import find_runs

Output = pytest.CaptureFixture[str]
Array = NDArray[np.generic]


def refused(capsys: Output, *words: object) -> str:
    assert main([str(word) for word in words]) == 2
    told = capsys.readouterr().err
    assert told.startswith("diswot report: ")
    return told


def test_paths_that_are_none(tmp_path: Path, capsys: Output) -> None:
    told = refused(capsys, tmp_path / "nowhere")
    assert f"{tmp_path / 'nowhere'} does not exist" in told
    (tmp_path / "file").touch()
    assert "is no folder" in refused(capsys, tmp_path / "file")
    (tmp_path / "file").unlink()
    told = refused(capsys, tmp_path)
    assert "no run in" in told
    assert all(word in told for word in ("config.json", "result.json", "table.yaml"))
    (tmp_path / "notes").mkdir()
    assert "no run in" in refused(capsys, tmp_path)
    assert "--collect" in refused(capsys, tmp_path, "--collect")
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]


def test_outputs_that_are_none(search_run: Path, tmp_path: Path, capsys: Output) -> None:
    assert "is no file" in refused(capsys, search_run, "--output", tmp_path)
    told = refused(capsys, search_run, "--output", tmp_path / "no" / "x.html")
    assert "folder that does not exist" in told


def test_a_full_disk_is_one_line(
    search_run: Path, tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("diswot.runs.files.write_atomic", full)
    told = refused(capsys, search_run, "--output", tmp_path / "x.html")
    assert told == f"diswot report: {tmp_path / 'x.html'}: No space left on device\n"


def test_the_console_script_knows_it(capsys: Output) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["report"])
    assert ended.value.code == 2
    assert "PATH" in capsys.readouterr().err


@pytest.fixture(scope="module")
def wreck(tmp_path_factory: pytest.TempPathFactory, search_run: Path) -> Path:
    """One whole run among folders that are none, or no longer."""
    root = tmp_path_factory.mktemp("wreck")
    copied(search_run, root / "whole", 0)
    (root / "foreign").mkdir()
    (root / "foreign" / "notes.txt").write_text("hello")
    for name, content in {
        "binary": b"\x93\x00\xff" * 1000,
        "list": b"[1, 2]",
        "deep": b"[" * 100_000,
        "short": b'{"schema": 1}',
    }.items():
        copied(search_run, root / name, 1)
        (root / name / "result.json").write_bytes(content)
    copied(search_run, root / "huge", 1)
    with (root / "huge" / "result.json").open("wb") as file:
        file.truncate(2**31)
    half = copied(search_run, root / "half", 2)
    for name in ("result.json", "candidates.csv"):
        (half / name).unlink()
    with (half / "candidates.jsonl").open("a") as file:
        file.write('{"arch": "s0:1-')
    failed = configured(make_train(root / "failed", 5, 1.0))
    (failed / "result.json").unlink()
    failure = {"schema": 1, "type": "UserError", "error": "no <b>room</b>", "stopped": False}
    (failed / "failure.json").write_text(json.dumps(failure))
    (root / "whole" / "loop").symlink_to(root, target_is_directory=True)
    return root


def test_a_sweep_in_pieces_is_reported(wreck: Path, tmp_path: Path, capsys: Output) -> None:
    page = tmp_path / "page.html"
    assert main([str(wreck), "--output", str(page)]) == 0
    told = capsys.readouterr().out
    for name, state in {
        **dict.fromkeys(("binary", "list", "huge", "short", "deep"), "damaged"),
        "foreign": "foreign",
        "half": "unfinished",
        "failed": "failed",
    }.items():
        assert f"{wreck / name}: {state}, " in told
    text = page.read_text(encoding="utf-8")
    assert "no &lt;b&gt;room&lt;/b&gt;" in text
    assert "Drawn as far as they have come: seed 2 (unfinished)." in text
    assert "9 folders: " in text
    assert (wreck / "half" / "candidates.jsonl").read_text().endswith('{"arch": "s0:1-')


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("candidates.csv", b"a,b\n1,2\n", "candidates.csv is damaged"),
        ("candidates.csv", b"\xff\xfe\x00", "candidates.csv is damaged"),
        ("similarity.npz", b"PK\x03\x04", "similarity.npz is damaged"),
    ],
)
def test_damaged_tables_of_a_finished_run(
    name: str, content: bytes, told: str, search_run: Path, tmp_path: Path
) -> None:
    run = copied(search_run, tmp_path / "run", 0)
    (run / name).write_bytes(content)
    assert main([str(run)]) == 0
    assert told in (run / "report.html").read_text(encoding="utf-8")


def test_results_of_strange_types_do_not_matter(search_run: Path, tmp_path: Path) -> None:
    strange = {
        "arch": ["x"],
        "score": "high",
        "params": 10**400,
        "flops": True,
        "seconds": {"a": 1},
        "benchmark": {"standings": [3, {"target": 1, "accuracy": "x"}]},
        "versions": {"torch": ["<i>"]},
        "teacher": "\ud800",
    }
    copied(search_run, tmp_path / "a", 0, **strange)
    configured(copied(search_run, tmp_path / "b", 1), proxy=5, space=[1], teacher="x", seed="y")
    versions = copied(search_run, tmp_path / "c", 1, versions=3, benchmark=[])
    assert read(versions / "result.json")["versions"] == 3
    far = copied(search_run, tmp_path / "d", 3, score=1e308)
    lines = (far / "candidates.csv").read_text().splitlines()
    lines[1:3] = [f"s0:1-1-{i},{x}1e308" + ",-1e300" * 6 for i, x in enumerate(("", "-"))]
    (far / "candidates.csv").write_text("\n".join(lines) + "\n")
    assert main([str(tmp_path)]) == 0


def test_pickles_and_bombs_are_not_opened(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "ran",))  # type: ignore[return-value]

    np.savez(tmp_path / "similarity.npz", relation_teacher=np.array([Evil()], object))
    with pytest.raises(reading.UnreadableError, match="damaged"):
        similarity(tmp_path)
    assert not (tmp_path / "ran").exists()
    with zipfile.ZipFile(tmp_path / "similarity.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("relation_teacher.npy", bytes(65 * 2**20))
    with pytest.raises(reading.UnreadableError, match="64 MB"):
        similarity(tmp_path)
    np.savez(tmp_path / "similarity.npz", relation_teacher=np.eye(2), relation_student=np.eye(3))
    with pytest.raises(reading.UnreadableError, match="shapes"):
        similarity(tmp_path)


def test_matrices_of_which_only_the_header_is_large_are_refused(tmp_path: Path) -> None:
    head = io.BytesIO()
    side = 3_200_000
    told = {"descr": "<f8", "fortran_order": False, "shape": (side, side)}
    np.lib.format.write_array_header_1_0(head, told)
    with zipfile.ZipFile(tmp_path / "similarity.npz", "w") as archive:
        archive.writestr("relation_teacher.npy", head.getvalue())
    with pytest.raises(reading.UnreadableError, match="64 MB"):
        similarity(tmp_path)


@pytest.mark.parametrize(
    "matrix", [np.eye(2, dtype=complex), np.ones((2, 3)), np.full((2, 2), 1e200), np.ones(4)]
)
def test_matrices_of_another_kind_are_refused(matrix: Array, tmp_path: Path) -> None:
    pair = {"relation_teacher": matrix, "relation_student": matrix}
    np.savez(tmp_path / "similarity.npz", **pair)  # type: ignore[arg-type]
    with pytest.raises(reading.UnreadableError, match="relation_teacher"):
        similarity(tmp_path)


def test_a_benchmark_file_that_a_run_names_is_not_opened(search_run: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap.pbz2"
    trap.write_bytes(pickle.dumps(0))
    named = {"_target_": "os.system", "name": "s0", "space": "s0", "path": str(trap)}
    run = configured(copied(search_run, tmp_path / "run", 0), benchmark=named)
    assert main([str(run)]) == 0
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "benchmark.path names was not opened" in page
    assert "the published table in the package" in page


def test_accuracies_only_where_they_hold(search_run: Path, tmp_path: Path) -> None:
    run = copied(search_run, tmp_path / "run", 0)
    space = read(run / "config.json")["space"]
    configured(run, space={**space, "widths": [1, 2, 3, 4]})
    assert "widths" in known_accuracies(find_runs([run])[0]).problem
    for name in ("../../etc", "s1", "", 3, "x" * 5000, "..", "ü" * 64):
        configured(run, space={**space, "name": name})
        known = known_accuracies(find_runs([run])[0])
        assert known.problem
        assert not known.accuracy
