"""A real training: Ctrl-C, a kill, and going on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from cli_helpers import _heed_ctrl_c, environment

from diswot.train import main

LONG = [
    *("data=gaussian", "data.length=128", "data.batch_size=16", "data.image_size=8"),
    *("student=resnet8", "student.network.widths=[4,4,8,8]", "protocol.max_epochs=12"),
    *("teacher=none", "distiller=none", "protocol.ema=0.9", "device=cpu"),
]


def started(cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "diswot.train", *LONG, "hydra.run.dir=run"],
        cwd=cwd,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=_heed_ctrl_c,  # noqa: PLW1509 (no threads here)
    )


def lines(run: Path) -> int:
    file = run / "epochs.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def wait(process: subprocess.Popen[str], run: Path, epochs: int) -> None:
    while process.poll() is None and lines(run) < epochs:
        time.sleep(0.005)
    assert process.poll() is None, "LONG is too fast"


def left(run: Path) -> tuple[list[dict[str, object]], bytes, bytes]:
    found = [json.loads(line) for line in (run / "epochs.jsonl").read_text().splitlines()]
    kept = [{k: line[k] for k in ("epoch", "lr", "losses", "val_loss")} for line in found]
    weights = [(run / f"{name}.safetensors").read_bytes() for name in ("student", "best")]
    return kept, weights[0], weights[1]


@pytest.mark.slow
def test_ctrl_c_and_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    with started(tmp_path) as process:
        wait(process, run, 2)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert f"Stopped; finished epochs are kept in {run}. The same command goes on" in err
    assert not list(run.glob(".*"))
    before = lines(run)
    assert 2 <= before < 12
    with started(tmp_path) as process:
        wait(process, run, before + 2)
        process.kill()
        out, _ = process.communicate()
    assert f"epoch {before + 1}/12" in out
    assert "epoch 1/12" not in out
    assert before + 2 <= lines(run) < 12
    assert not (run / "result.json").exists()

    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert main([*LONG, "hydra.run.dir=run"]) == 0
        out = capfd.readouterr().out
        assert "epoch 12/12" in out
        assert "epoch 1/12" not in out
        assert main([*LONG, "hydra.run.dir=whole"]) == 0
    finally:
        torch.set_num_threads(threads)
    assert left(run) == left(tmp_path / "whole")


def test_finished_is_said_again(
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
