"""What goes wrong while training is said in one line."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.data import get_worker_info
from training_helpers import left, trained

from diswot.data.gaussian import GaussianImages
from diswot.errors import UserError
from diswot.training.module import Distillation


def refused(run: Path, weights: Path, *settings: str) -> str:
    """The one line."""
    with pytest.raises(UserError) as caught:
        trained(run, weights, *settings)
    message = str(caught.value)
    assert "\n" not in message
    assert "Traceback" not in message
    assert not (run / "result.json").exists()
    return message


def test_a_loss_that_is_not_finite(tmp_path: Path, weights: Path) -> None:
    message = refused(tmp_path / "run", weights, "protocol.optimizer.lr=1e20")
    file = tmp_path / "run" / "not_finite.pt"
    for part in ("the loss is not finite in epoch 0, batch", str(file), "protocol.optimizer.lr"):
        assert part in message
    kept = torch.load(file, weights_only=True)
    assert kept["images"].shape == (32, 3, 8, 8)
    assert kept["labels"].shape == kept["indices"].shape == (32,)
    assert set(kept["losses"]) == {"ce", "kd"}
    assert "conv1.weight" in kept["student"]


def test_a_loss_that_is_not_finite_in_validation(tmp_path: Path, weights: Path) -> None:
    settings = ["protocol.optimizer.lr=1e30", "data.batch_size=96"]
    message = refused(tmp_path / "run", weights, *settings)
    assert "the loss on the test images is nan" in message
    assert "after epoch 0" in message
    assert "protocol.optimizer.lr" in message
    assert not (tmp_path / "run" / "epochs.jsonl").exists()


MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: "
        "you tried to allocate 9 bytes. Error code 12 (Cannot allocate memory)"
    ),
    MemoryError(),
]


@pytest.mark.parametrize("error", MEMORY)
def test_out_of_memory(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def step(*_: object) -> Tensor:
        raise error

    monkeypatch.setattr(Distillation, "training_step", step)
    message = refused(tmp_path / "run", weights)
    assert message == "out of memory with data.batch_size=32; try data.batch_size=16"


def test_other_errors_keep_their_traceback(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(*_: object) -> Tensor:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Distillation, "training_step", step)
    with pytest.raises(RuntimeError, match=r"a bug"):
        trained(tmp_path / "run", weights)


def test_a_killed_worker(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = GaussianImages.fitted, []

    def fitted(self: GaussianImages, indices: Tensor) -> Tensor:
        calls.append(1)
        if get_worker_info() is not None and len(calls) > 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(self, indices)

    with monkeypatch.context() as patched:
        patched.setattr(GaussianImages, "fitted", fitted)
        message = refused(tmp_path / "run", weights, "data.num_workers=1")
    assert "a process that loads images was killed" in message
    assert "data.num_workers=1" in message
    trained(tmp_path / "run", weights)
    trained(tmp_path / "whole", weights)
    assert left(tmp_path / "run") == left(tmp_path / "whole")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_image(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    told = "data.path: image 7 of somewhere is damaged; mend it"

    def fitted(self: GaussianImages, indices: Tensor) -> Tensor:
        if len(indices) > 2:  # the images that shapes are seen with
            raise UserError(told)
        return torch.zeros(len(indices), *self.shape)

    monkeypatch.setattr(GaussianImages, "fitted", fitted)
    assert refused(tmp_path / "run", weights, f"data.num_workers={workers}") == told
