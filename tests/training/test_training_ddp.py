"""Two processes train one student."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F  # noqa: N812
from training_helpers import SMALL, epochs, prepared

from diswot.data.training import Order
from diswot.train import main

STEP = [
    *("distiller=none", "trainer.max_epochs=1", "data.length=64", "trainer.schedule.warmup=0"),
    *("trainer.optimizer.momentum=0", "trainer.optimizer.nesterov=false"),
    *("trainer.optimizer.weight_decay=0", "trainer.optimizer.lr=0.3"),
]
"""One step of two processes; the test's own arithmetic says where it leads."""


def stepped(weights: Path) -> dict[str, torch.Tensor]:
    """The parameters after a step along the mean of both batches' gradients."""
    setup = prepared(weights, *STEP)
    student = setup.module.student
    for number in (0, 1):
        images, labels, _ = setup.batches.training[0, number]
        (F.cross_entropy(student(images), labels) / 2).backward()
    return {name: (p - 0.3 * p.grad).detach() for name, p in student.named_parameters()}


@pytest.mark.slow
def test_two_processes_average_their_gradients(
    tmp_path: Path,
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert main([*SMALL, *STEP, "trainer.devices=2", "hydra.run.dir=run"]) == 0
    out, err = capfd.readouterr()
    assert "ightning" not in err
    assert out.count("epoch 1/1") == 1
    run = tmp_path / "run"
    (line,) = epochs(run)
    result = json.loads((run / "result.json").read_text())
    assert result["test_top1"] == line["val_top1"]
    assert 0 <= result["test_top1"] <= result["test_top5"] <= 100
    found = load_file(run / "student.safetensors")
    for name, value in stepped(weights).items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("distiller", ["kd", "[fitnet,vid]"])
def test_fresh_interpreters_are_sent_everything(weights: Path, distiller: str) -> None:
    setup = prepared(weights, f"distiller={distiller}", "trainer.ema=0.9", "trainer.mixup=0.1")
    again = pickle.loads(pickle.dumps((setup.module, setup.batches)))[0]
    for name, value in setup.module.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)


def test_each_process_takes_its_turn() -> None:
    epoch = 3
    shares = [list(Order(7, lambda: epoch, rank=rank, world=2, even=True)) for rank in (0, 1)]
    assert shares == [[(3, 0), (3, 2), (3, 4)], [(3, 1), (3, 3), (3, 5)]]
    shares = [list(Order(7, lambda: epoch, rank=rank, world=2)) for rank in (0, 1)]
    assert sorted(shares[0] + shares[1]) == [(3, number) for number in range(7)]
    assert [len(Order(7, lambda: epoch, rank=rank, world=2)) for rank in (0, 1)] == [4, 3]
