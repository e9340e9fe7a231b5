"""Lightning's Trainer and callbacks, as the groups ``trainer`` and ``callbacks`` give them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from lightning import Callback
from training_helpers import SMALL, composed, epochs, left, trained

from diswot.commands import compose
from diswot.config import conf_dir
from diswot.errors import UserError
from diswot.runs import EpochRecord, Journal
from diswot.train import run_train
from diswot.training.callbacks import EpochLog


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
    config = composed(weights, *word.split())
    with pytest.raises(UserError, match=REFUSED[word]) as caught:
        run_train(config, tmp_path / "run", [conf_dir()], quiet=True)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run/epochs.jsonl").exists()


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("max_epochs", "trainer.max_epochs=2: it is given by protocol.max_epochs"),
        ("ema", "trainer.ema is now protocol.ema"),
    ],
)
def test_old_names_in_files_are_told(
    tmp_path: Path, weights: Path, name: str, problem: str
) -> None:
    config = composed(weights)
    config["trainer"] = {**config["trainer"], name: 2}
    with pytest.raises(UserError, match=problem):
        run_train(config, tmp_path / "run", [conf_dir()], quiet=True)


def test_an_epoch_is_logged_once_its_checkpoint_is_written(tmp_path: Path) -> None:
    logged: list[int] = []

    def log(metrics: Mapping[str, float], step: int) -> None:
        assert metrics["train_loss"] == 1.0
        assert ("params" in metrics) is (step == 0)
        logged.append(step)

    journal = Journal(tmp_path / EpochRecord.file, EpochRecord)
    checkpoint, nothing = tmp_path / "last.ckpt", Any
    callback = EpochLog(log, tmp_path, {"params": 5})
    callback.setup(nothing, nothing, "fit")
    for numbers, kept, expected in [
        ((0,), True, [0]),
        ((1,), True, [0, 1]),
        ((2, 3), False, [0, 1, 2]),
        ((), True, [0, 1, 2, 3]),
    ]:
        for number in numbers:
            journal.append(EpochRecord(number, 0.1, {"loss": 1.0}, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0))
        checkpoint.touch()
        if not kept:
            os.utime(checkpoint, (0, 0))
        callback.on_train_epoch_start(nothing, nothing)
        assert logged == expected
