"""Lightning's Trainer and callbacks as the config gives them; what goes wrong is one line."""

import os
import re
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback
from torch import Tensor
from torch.utils.data import get_worker_info
from training_helpers import SMALL, composed, epochs, left, trained

from diswot.commands import compose
from diswot.config import conf_dir
from diswot.data.gaussian import GaussianImages
from diswot.errors import UserError
from diswot.runs import EpochRecord, Journal
from diswot.train import run_train
from diswot.training.callbacks import EpochLog
from diswot.training.module import Distillation
from diswot.training.processes import explained


class Seen(Callback):
    """Counts what a user's callback is called for."""

    batches = 0

    def on_train_batch_end(self, *_: object) -> None:
        Seen.batches += 1


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    Seen.batches = 0


def test_any_argument_of_the_trainer(tmp_path: Path, weights: Path) -> None:
    words = ["trainer.limit_train_batches=2", "+trainer.detect_anomaly=true"]
    seen = "+callbacks.seen._target_=test_training_trainer.Seen"
    trained(tmp_path / "run", weights, *words, seen)
    assert Seen.batches == 3 * 2
    rates = [line["lr"] for line in epochs(tmp_path / "run")]
    assert rates == pytest.approx([0.1, 0.05, 0], abs=1e-9)


def test_a_shortened_validation_is_no_test(tmp_path: Path, weights: Path) -> None:
    result = trained(tmp_path / "part", weights, "trainer.limit_val_batches=1")
    whole = trained(tmp_path / "whole", weights)
    assert result["test_top1"] == pytest.approx(whole["test_top1"], abs=1e-3)


def test_a_callback_of_ones_own_yaml(tmp_path: Path, weights: Path) -> None:
    (tmp_path / "conf/callbacks").mkdir(parents=True)
    text = "# @package callbacks.mine\n_target_: test_training_trainer.Seen\n"
    (tmp_path / "conf/callbacks/mine.yaml").write_text(text)
    words = [*SMALL, f"teacher.weights='{weights}'"]
    config = compose("train", [*words, "callbacks=[default,mine]"], tmp_path / "conf")
    run_train(config, tmp_path / "run", [conf_dir()], quiet=True)
    trained(tmp_path / "plain", weights)
    assert Seen.batches == 9
    assert left(tmp_path / "run") == left(tmp_path / "plain")


def test_a_training_that_is_ended_early(tmp_path: Path, weights: Path) -> None:
    early = "+callbacks.stop={_target_: lightning.pytorch.callbacks.EarlyStopping, "
    words = ["monitor: val_loss, mode: max, patience: 1, min_delta: 9}", "protocol.max_epochs=9"]
    result = trained(tmp_path / "run", weights, early + words[0], words[1])
    assert result["epochs"] == len(epochs(tmp_path / "run")) == 2


REFUSED = {
    "+trainer.foo=1": r"trainer: lightning.Trainer refuses its settings: .*'foo'",
    "+trainer.accelerator=gpu": r"trainer.accelerator=gpu: it is given by device",
    "trainer.num_sanity_val_steps=2": r"trainer.num_sanity_val_steps=2 is not allowed",
    "trainer.gradient_clip_algorithm=x": r"trainer: lightning.Trainer refuses its settings",
    "trainer.strategy=magic": r"trainer: lightning.Trainer refuses its settings: .*magic",
    "trainer._target_=builtins.dict": r"trainer: builtins.dict gives no Trainer",
    "trainer.limit_val_batches=0": r"trainer.limit_val_batches=0 .*every epoch is validated",
    "trainer.max_steps=2": r"epoch 0 ended before it was validated",
    "~callbacks.journal": r"callbacks.journal: no EpochJournal",
    "~callbacks.checkpoint": r"callbacks.checkpoint: no ModelCheckpoint",
    "callbacks.curves=3": r"callbacks.curves=3: give a node",
    "callbacks.curves._target_=builtins.dict": r"callbacks.curves: builtins.dict gives no Callback",
    "+callbacks.lr._target_=lightning.pytorch.callbacks.LearningRateMonitor": r"no logger",
}


@pytest.mark.parametrize("word", REFUSED)
def test_settings_that_are_refused(tmp_path: Path, weights: Path, word: str) -> None:
    assert re.search(REFUSED[word], refused(tmp_path / "run", weights, *word.split()))
    assert not (tmp_path / "run/epochs.jsonl").exists()


def test_old_names_in_files_are_refused(tmp_path: Path, weights: Path) -> None:
    config = composed(weights)
    old = {"max_epochs": r"=2: it is given by protocol.max_epochs", "ema": " is now protocol.ema"}
    for name, problem in old.items():
        changed = {**config, "trainer": {**config["trainer"], name: 2}}
        with pytest.raises(UserError, match=rf"trainer.{name}{problem}"):
            run_train(changed, tmp_path / "run", [conf_dir()], quiet=True)


def test_an_epoch_is_logged_once(tmp_path: Path) -> None:
    logged: list[int] = []

    def log(metrics: Mapping[str, float], step: int) -> None:
        assert metrics["train_loss"] == 1.0
        assert ("params" in metrics) is (step == 0)
        logged.append(step)

    journal = Journal(tmp_path / EpochRecord.file, EpochRecord)
    nothing: Any = None
    callback = EpochLog(log, journal, {"params": 5})
    callback.setup(nothing, nothing, "fit")
    for numbers, expected in [((0,), [0]), ((1, 2), [0, 1, 2]), ((), [0, 1, 2])]:
        for number in numbers:
            journal.append(EpochRecord(number, 0.1, {"loss": 1.0}, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0))
        callback.on_train_epoch_start(nothing, nothing)
        assert logged == expected


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


@pytest.mark.parametrize("error", [EOFError(), ConnectionResetError(104, "reset")])
def test_a_worker_killed_while_it_hands_over(tmp_path: Path, error: Exception) -> None:
    killed = pytest.raises(UserError, match="a process that loads images was killed")
    with killed, explained(tmp_path, batch_size=8, num_workers=1):
        raise error
    with pytest.raises(type(error)), explained(tmp_path, batch_size=8, num_workers=0):
        raise error


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_image(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    problem = "data.path: image 7 of somewhere is damaged; mend it"

    def fitted(self: GaussianImages, indices: Tensor) -> Tensor:
        if len(indices) > 2:  # the images that shapes are seen with
            raise UserError(problem)
        return torch.zeros(len(indices), *self.shape)

    monkeypatch.setattr(GaussianImages, "fitted", fitted)
    assert refused(tmp_path / "run", weights, f"data.num_workers={workers}") == problem
