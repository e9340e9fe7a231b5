"""Ctrl-C and kills of a real search and a real training."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from cli_helpers import SLOW, journal, outcome, started, wait, whole_lines

from diswot.commands import compose
from diswot.search import run_search
from diswot.train import main


def workers_of(pid: int) -> list[int]:
    """Scoring processes of a search."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid and b"diswot.scoring.pool" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def ended(pids: list[int], within: float) -> bool:
    def alive(pid: int) -> bool:
        try:
            return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return False

    deadline = time.monotonic() + within
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(map(alive, pids))


@pytest.mark.slow
def test_a_kill_and_ctrl_c(tmp_path: Path) -> None:
    run, whole = tmp_path / "run", tmp_path / "whole"
    with started(tmp_path, "search", *SLOW, "hydra.run.dir=run") as process:
        wait(process, lambda: whole_lines(run), 3)
        workers = workers_of(process.pid)
        process.kill()
    assert len(workers) == 2
    assert ended(workers, within=20)
    assert not (run / "result.json").exists()
    before = whole_lines(run)
    with started(tmp_path, "search", *SLOW, "hydra.run.dir=run") as process:
        wait(process, lambda: whole_lines(run), before + 4)
        workers = workers_of(process.pid)
        os.killpg(process.pid, signal.SIGINT)  # the group, as a terminal does
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Going on: " in err
    assert "Traceback" not in err
    assert f"Stopped; what was scored is kept in {run}. The same command goes on" in err
    assert ended(workers, within=1)
    assert not list(run.glob(".*"))
    kept = journal(run)
    one = compose("search", [*SLOW, "workers=1"], None)
    run_search(one, whole, quiet=True)
    assert before + 4 <= len(kept) < len(journal(whole))
    assert kept == journal(whole)[: len(kept)]
    run_search(one, run, quiet=True)
    assert outcome(run) == outcome(whole)


LONG = [
    *("data=gaussian", "data.length=128", "data.batch_size=16", "data.image_size=8"),
    *("student=resnet8", "student.network.widths=[8,8,16,16]", "protocol.max_epochs=12"),
    *("teacher=none", "distiller=none", "protocol.ema=0.9", "device=cpu"),
]


def left(run: Path) -> tuple[list[dict[str, object]], bytes, bytes]:
    found = [json.loads(line) for line in (run / "epochs.jsonl").read_text().splitlines()]
    kept = [{k: line[k] for k in ("epoch", "lr", "losses", "val_loss")} for line in found]
    weights = [(run / f"{name}.safetensors").read_bytes() for name in ("student", "best")]
    return kept, weights[0], weights[1]


@pytest.mark.slow
def test_ctrl_c_and_a_kill_of_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"

    def lines() -> int:
        return whole_lines(run, "epochs.jsonl")

    with started(tmp_path, "train", *LONG, "hydra.run.dir=run") as process:
        wait(process, lines, 2)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert f"Stopped; finished epochs are kept in {run}. The same command goes on" in err
    assert not list(run.glob(".*"))
    before = lines()
    assert 2 <= before < 12
    with started(tmp_path, "train", *LONG, "hydra.run.dir=run") as process:
        wait(process, lines, before + 2)
        process.kill()
        out, _ = process.communicate()
    assert f"epoch {before + 1}/12" in out
    assert "epoch 1/12" not in out
    assert before + 2 <= lines() < 12
    assert not (run / "result.json").exists()

    monkeypatch.chdir(tmp_path)
    assert torch.get_num_threads() == 1  # as in the other processes
    assert main([*LONG, "hydra.run.dir=run"]) == 0
    out = capfd.readouterr().out
    assert "epoch 12/12" in out
    assert "epoch 1/12" not in out
    assert main([*LONG, "hydra.run.dir=whole"]) == 0
    assert left(run) == left(tmp_path / "whole")


def test_a_finished_training_is_said_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [*LONG, "protocol.max_epochs=2", "hydra.run.dir=run"]
    assert main(words) == 0
    first = capfd.readouterr().out
    before = {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()}
    wanted = {"result.json", "metrics.csv", "curves.png", "student.safetensors", "student.json"}
    assert wanted | {"last.ckpt", "best.safetensors", "config.json"} <= before.keys()
    assert main(words) == 0
    again = capfd.readouterr().out
    told, _, same = again.partition("\n")
    assert "finished before" in told
    assert first.endswith(same)
    assert same.startswith("resnet8, alone: top-1 ")
    assert {f.name: f.read_bytes() for f in (tmp_path / "run").iterdir()} == before
    assert len(before["metrics.csv"].splitlines()) == 3
