"""Wrong input that is refused, and damaged, unfinished and foreign runs that become notes."""

import json
import pickle
from pathlib import Path

import pytest
from report_helpers import configured, copied, make_train, read, reported

from diswot import cli
from diswot.report import main

Output = pytest.CaptureFixture[str]


def refused(capsys: Output, *arguments: object) -> str:
    assert main([str(argument) for argument in arguments]) == 2
    message = capsys.readouterr().err
    assert message.startswith("diswot report: ")
    return message


def test_paths_that_are_none(tmp_path: Path, capsys: Output) -> None:
    assert f"{tmp_path / 'nowhere'} is no folder" in refused(capsys, tmp_path / "nowhere")
    (tmp_path / "file").touch()
    assert "is no folder" in refused(capsys, tmp_path / "file")
    (tmp_path / "file").unlink()
    message = refused(capsys, tmp_path)
    assert "no run in" in message
    assert all(word in message for word in ("config.json", "result.json", "table.yaml"))
    (tmp_path / "notes").mkdir()
    assert "no run in" in refused(capsys, tmp_path)
    assert "--collect" in refused(capsys, tmp_path, "--collect")
    with pytest.raises(SystemExit, match="2"):
        cli.main(["report"])
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]


def test_outputs_that_cannot_be_written(
    search_run: Path, tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "is no file" in refused(capsys, search_run, "--output", tmp_path)
    target = tmp_path / "no" / "x.html"
    assert "folder that does not exist" in refused(capsys, search_run, "--output", target)

    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("diswot.runs.write_atomic", full)
    message = refused(capsys, search_run, "--output", tmp_path / "x.html")
    assert message == f"diswot report: {tmp_path / 'x.html'}: No space left on device\n"


@pytest.fixture
def wreck(tmp_path: Path, search_run: Path) -> Path:
    """One whole run among folders that are none, or no longer."""
    root = tmp_path / "wreck"
    copied(search_run, root / "whole", 0)
    (root / "foreign").mkdir()
    (root / "foreign" / "notes.txt").write_text("hello")
    for name, content in {"binary": b"\x93\x00\xff", "short": b'{"schema": 1}'}.items():
        (copied(search_run, root / name, 1) / "result.json").write_bytes(content)
    copied(search_run, root / "typed", 1, score="high")
    half = copied(search_run, root / "half", 2)
    for name in ("result.json", "candidates.csv"):
        (half / name).unlink()
    with (half / "candidates.jsonl").open("a") as file:
        file.write('{"arch": "s0:1-')
    failed = make_train(root / "failed", 5, 1.0)
    (failed / "result.json").unlink()
    failure = {"schema": 1, "type": "UserError", "error": "no <b>room</b>", "stopped": False}
    (failed / "failure.json").write_text(json.dumps(failure))
    (root / "whole" / "loop").symlink_to(root, target_is_directory=True)
    return root


def test_a_sweep_in_pieces_is_reported(wreck: Path, capsys: Output) -> None:
    text = reported(wreck)
    printed = capsys.readouterr().out
    states = {**dict.fromkeys(("binary", "short", "typed"), "damaged"), "half": "unfinished"}
    for name, state in {**states, "foreign": "foreign", "failed": "failed"}.items():
        assert f"{wreck / name}: {state}, " in printed
    assert "no &lt;b&gt;room&lt;/b&gt;" in text
    assert "Drawn as far as they have come: seed 2 (unfinished)." in text
    assert "7 folders: " in text
    assert (wreck / "half" / "candidates.jsonl").read_text().endswith('{"arch": "s0:1-')


@pytest.mark.parametrize(
    ("name", "content", "note"),
    [
        ("candidates.csv", b"a,b\n1,2\n", "candidates.csv cannot be read: it lacks arch, score"),
        ("candidates.csv", b"\xff\xfe\x00", "candidates.csv cannot be read"),
        ("candidates.jsonl", b"{}\n", "candidates.jsonl, line 1 cannot be read"),
        ("similarity.npz", b"PK\x03\x04", "similarity.npz cannot be read"),
    ],
)
def test_damaged_tables_of_a_finished_run(
    name: str, content: bytes, note: str, search_run: Path, tmp_path: Path
) -> None:
    run = copied(search_run, tmp_path / "run", 0)
    (run / name).write_bytes(content)
    assert f"seed 0: {note}" in reported(run)


def test_settings_of_strange_types_do_not_matter(search_run: Path, tmp_path: Path) -> None:
    strange = configured(copied(search_run, tmp_path / "a", 1), proxy=5, space=[1], seed="y")
    configured(strange, teacher="x", budget={"params": "few"}, strategy=[])
    copied(search_run, tmp_path / "b", 0, params=10**400, arch="\ud800", teacher="\ud800")
    assert "2 finished" in reported(tmp_path)


def test_a_benchmark_file_that_a_run_names_is_not_opened(search_run: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap.pbz2"
    trap.write_bytes(pickle.dumps(0))
    named = {"_target_": "os.system", "name": "s0", "space": "s0", "path": str(trap)}
    page = reported(configured(copied(search_run, tmp_path / "run", 0), benchmark=named))
    assert "benchmark.path names was not opened" in page
    assert "the published table in the package" in page


def test_accuracies_only_where_they_hold(search_run: Path, tmp_path: Path) -> None:
    run = copied(search_run, tmp_path / "run", 0)
    space = read(run / "config.json")["space"]
    configured(run, space={**space, "widths": [1, 2, 3, 4]})
    assert "No picture of accuracy: benchmark=s0 holds for space.widths=" in reported(run)
    for name in (3, "../../etc"):
        configured(run, space={**space, "name": name})
        assert f"No picture of accuracy: no accuracies are known of space {name}." in reported(run)
