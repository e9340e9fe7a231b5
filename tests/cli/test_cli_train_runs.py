"""A real training: Ctrl-C, a kill, and going on."""

import json
import os
import signal
from pathlib import Path

import pytest
import torch
from cli_helpers import started, wait, whole_lines

from diswot.train import main

LONG = [
    *("data=gaussian", "data.length=128", "data.batch_size=16", "data.image_size=8"),
    *("student=resnet8", "student.network.widths=[4,4,8,8]", "protocol.max_epochs=12"),
    *("teacher=none", "distiller=none", "protocol.ema=0.9", "device=cpu"),
]


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
