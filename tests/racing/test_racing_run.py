"""Real races of small networks: files, figures, stops, workers."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from markupsafe import escape
from racing_helpers import ARCHS, SMALL, journal, left, raced

import diswot
from diswot.errors import DivergedError, UserError
from diswot.race import main
from diswot.reporting.page import render
from diswot.reporting.race import show_result, verdicts
from diswot.runs import RaceSummary, TrainSummary, find_runs, read_summary
from diswot.train import run_train


def test_what_a_race_leaves(finished: Path, capfd: pytest.CaptureFixture[str]) -> None:
    names = {file.name for file in finished.iterdir() if file.is_file()}
    kept = {"config.json", "race.jsonl", "result.json", "run.lock"}
    assert names == kept | {"student.safetensors", "student.json"}
    teacher, *lines = journal(finished)
    assert (teacher["arch"], teacher["rung"], teacher["val_top1"]) == ("resnet8", 0, None)
    summary = read_summary(finished / "result.json", RaceSummary)
    assert len(lines) == summary.trained == 3 + 2 * 2 + 2 * 2
    best, *others = summary.contestants
    assert best.arch == summary.arch
    assert {best.arch, *(c.arch for c in others)} == {*ARCHS}
    assert summary.control in ARCHS
    assert summary.images == 64
    own = {
        taught: [
            r["test_top1"]
            for r in lines
            if r["arch"] == best.arch and r["rung"] == 2 and r["taught"] == taught
        ]
        for taught in (True, False)
    }
    gains = [taught - alone for taught, alone in zip(own[True], own[False], strict=True)]
    assert best.taught
    assert best.alone
    assert best.gain
    assert best.taught.mean == summary.test_top1 == pytest.approx(sum(own[True]) / 2, abs=1e-4)
    assert best.gain.mean == pytest.approx(sum(gains) / 2, abs=1e-4)
    student = diswot.load_student(finished)
    assert student(torch.zeros(2, 3, 8, 8)).shape == (2, 10)
    assert json.loads((finished / "student.json").read_text())["student"]["arch"] == best.arch
    show_result(summary, finished)
    shown = capfd.readouterr().out
    assert all(arch in shown for arch in ARCHS)
    assert "resnet8 (teacher)" in shown
    assert all(line in shown for line in verdicts(summary))
    (race,) = find_runs([finished])
    trainings = find_runs([finished / "trainings"])
    assert (race.command, race.state) == ("race", "finished")
    assert [run.command for run in trainings] == ["train"] * summary.trained
    assert escape("; ".join(verdicts(summary))) in render("races", [race]).decode()


def test_one_that_diverges_ends_no_race(
    finished: Path,
    teacher: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    loser = read_summary(finished / "result.json", RaceSummary).arch

    def train(config: dict[str, Any], *given: Any, **how: Any) -> TrainSummary:
        if config["student"]["arch"] == loser and config["seed"] == 1:
            raise DivergedError("the loss is not finite")
        return run_train(config, *given, **how)

    monkeypatch.setattr("diswot.train.run_train", train)
    summary = raced(tmp_path, *teacher)
    assert summary.arch != loser
    (lost,) = [each for each in summary.contestants if each.arch == loser]
    assert (lost.val_top1, lost.reason) == (None, "the loss is not finite")
    assert lost.taught
    assert lost.taught.seeds == 1
    (line,) = [each for each in journal(tmp_path) if each["reason"] and each["taught"]]
    known = next(each for each in journal(finished) if each["arch"] == loser)
    assert [line[key] for key in ("params", "flops")] == [known["params"], known["flops"]]
    show_result(summary, tmp_path)
    assert f"{loser} diverged: the loss is not finite" in capfd.readouterr().out
    assert raced(tmp_path, *teacher) == summary


def test_a_race_in_which_all_diverge(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = [*SMALL, "teacher=none", "protocol.optimizer.lr=1e30", f"hydra.run.dir={tmp_path}"]
    assert main(words) == 2
    message = capfd.readouterr().err
    assert "all that were left diverged on rung 1; the first: the loss is not finite" in message


def middle_of_a_training(run: Path) -> None:
    """The second is not in the journal, its folder has a checkpoint of the first epoch at most."""
    lines = (run / "race.jsonl").read_bytes().splitlines(keepends=True)
    (run / "race.jsonl").write_bytes(b"".join(lines[:2]))
    for folder in sorted((run / "trainings").iterdir())[1:]:
        shutil.rmtree(folder)


def torn_line(run: Path) -> None:
    """Its training has finished."""
    whole = (run / "race.jsonl").read_bytes()
    (run / "race.jsonl").write_bytes(whole[: len(whole) * 2 // 3])


def before_the_copy(run: Path) -> None:
    """All is trained."""


@pytest.mark.parametrize("kill", [middle_of_a_training, torn_line, before_the_copy])
def test_a_stopped_race_ends_with_the_same_bits(
    kill: Callable[[Path], None], finished: Path, copied: Path, teacher: list[str]
) -> None:
    for name in ("result.json", "student.safetensors", "student.json"):
        (copied / name).unlink()
    kill(copied)
    raced(copied, *teacher)
    assert left(copied) == left(finished)


def released(run: Path) -> None:
    """Wait until no process holds a lock: workers end when they see that theirs has."""
    for lock in run.rglob("run.lock"):
        with lock.open() as file:
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                with suppress(BlockingIOError):
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                time.sleep(0.05)


@pytest.mark.slow
def test_killed_with_its_workers(finished: Path, teacher: list[str], tmp_path: Path) -> None:
    """Two workers, killed where a line was just written; then one process goes on."""
    words = [*SMALL, *teacher, "workers=2", f"hydra.run.dir={tmp_path}/run"]
    command = [sys.executable, "-m", "diswot.race", *words]
    run = tmp_path / "run"
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 200
        while not (run / "race.jsonl").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
    known = journal(run)
    assert 0 < len(known) < len(journal(finished))
    released(run)
    raced(run, *teacher)
    assert left(run) == left(finished)


def test_more_seeds_go_on(copied: Path, teacher: list[str]) -> None:
    before = len(journal(copied))
    summary = raced(copied, *teacher, "seeds=3")
    assert (summary.seeds, summary.contestants[0].taught.seeds) == (3, 3)  # type: ignore[union-attr]
    assert len(journal(copied)) >= before + 4
    with pytest.raises(UserError, match="seeds=3; it may grow"):
        raced(copied, *teacher)


def test_without_a_trained_teacher_labels_teach(tmp_path: Path) -> None:
    summary = raced(tmp_path / "run", "teacher=none", "control=none", "seeds=1", "archs=[s0:1-1-1]")
    assert (summary.teacher, summary.control, summary.margin) == (None, None, None)
    (only,) = summary.contestants
    assert only.alone
    assert (only.taught, only.gain, only.alone.half) == (None, None, None)
    assert summary.trained == 2
    assert list(verdicts(summary)) == []
