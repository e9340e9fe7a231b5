"""One training through Lightning's Trainer: what it is made of, and where a stopped one goes on."""

import pickle
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, Trainer
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar

from diswot.config import make
from diswot.data.training import TrainingData
from diswot.errors import UserError
from diswot.models.parametrized import plain
from diswot.models.weights import DAMAGED, one_line, untrained_classifier
from diswot.runs import EpochRecord, RunDir, TeacherAccuracy
from diswot.teaching import of_teacher
from diswot.training.callbacks import AtomicCheckpointIO, EpochJournal, averaging
from diswot.training.processes import explained, quiet
from diswot.training.setup import TrainingSetup, trained_teacher

_ELSEWHERE = {name: name for name in ("precision", "callbacks", "logger")} | {
    "accelerator": "device",
    "max_epochs": "protocol.max_epochs",
    "default_root_dir": "hydra.run.dir",
}
"""Arguments of the Trainer that other settings give."""

_FIXED = {"use_distributed_sampler": False, "num_sanity_val_steps": 0}  # or epochs do not repeat
_SHOWING = ("lines", "progress")  # callbacks that are left out where nothing is to be shown


def make_trainer(
    config: Mapping[str, Any],
    setup: TrainingSetup,
    path: Path,
    environment: ClusterEnvironment,
    callbacks: Sequence[Callback] = (),
    *,
    show: bool = True,
) -> Trainer:
    """Lightning's Trainer, with the callbacks of the config and further ones.

    ``environment`` is what started this process; ``show`` says whether progress is shown. Wrong
    settings of ``trainer`` or ``callbacks`` raise `UserError`.
    """
    given = dict(config["trainer"])
    for name, value in given.items():
        if name in config["protocol"] and name not in _ELSEWHERE:
            raise UserError(f"trainer.{name} is now protocol.{name}")
        if name in _ELSEWHERE and value is not None:
            raise UserError(f"trainer.{name}={value}: it is given by {_ELSEWHERE[name]}")
        if name in _FIXED and value is not _FIXED[name]:
            raise UserError(f"trainer.{name}={value} is not allowed: epochs would not repeat")
    if given.get("gradient_clip_val") is None:
        given["gradient_clip_val"] = setup.protocol.gradient_clip or None
    if given.get("deterministic") is None and config["device"] == "cuda":
        given["deterministic"] = "warn"
    chosen = _callbacks(config["callbacks"], path, setup.protocol.ema, show)
    factory = make({**given, **_FIXED, "_partial_": True}, "trainer", partial)
    filled = {
        "accelerator": config["device"],
        "precision": config["precision"],
        "max_epochs": setup.protocol.max_epochs,
        "callbacks": [*chosen, *callbacks],
        "plugins": [*(factory.keywords.get("plugins") or ()), AtomicCheckpointIO(), environment],
        "logger": False,
        "default_root_dir": str(path),
        "enable_progress_bar": any(isinstance(each, ProgressBar) for each in chosen),
    }
    try:
        with quiet():
            trainer = factory(**filled)
    except (TypeError, ValueError, MisconfigurationException) as error:
        text = " ".join(str(error).split())
        raise UserError(f"trainer: {given.get('_target_')} refuses its settings: {text}") from error
    if not isinstance(trainer, Trainer):
        raise UserError(f"trainer: {given.get('_target_')} gives no Trainer")
    return trainer


def _callbacks(nodes: Mapping[str, Any], path: Path, ema: float, show: bool) -> list[Callback]:
    """Those of the config, the journal first: an average is taken back after it was copied."""
    made: dict[str, Callback] = {}
    for name, node in (nodes or {}).items():
        here = isinstance(node, Mapping) and "dirpath" in node and node["dirpath"] is None
        further = {"dirpath": str(path)} if here else {}
        if show or name not in _SHOWING:
            made[name] = make(node, f"callbacks.{name}", Callback, **further)
    for name, kind in {"journal": EpochJournal, "checkpoint": ModelCheckpoint}.items():
        if not isinstance(made.get(name), kind):
            raise UserError(
                f"callbacks.{name}: no {kind.__name__} is given, without which nothing is kept; "
                "callbacks=[default,...] has it"
            )
    journal = made.pop("journal")
    others = [c for c in made.values() if sys.stdout.isatty() or not isinstance(c, ProgressBar)]
    return [journal, *([averaging(ema)] if ema else []), *others]


def fit(trainer: Trainer, setup: TrainingSetup, path: Path, done: int) -> None:
    """Train until the protocol's last epoch, from the ``done`` on that the run's checkpoint holds.

    Afterwards the setup's module holds the student to be saved, plain. Errors are those of
    `explained`, or an OSError where the disk is full.
    """
    checkpoint, data = path / "last.ckpt", setup.data
    with quiet(), explained(path, data.batch_size, data.num_workers), _interruptible():
        from_ = str(checkpoint) if done else None
        trainer.fit(setup.module, setup.batches, ckpt_path=from_, weights_only=True)
    if done >= setup.protocol.max_epochs:  # then Lightning did not end a training with the average
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
        setup.module.load_state_dict(content["state_dict"])
    setup.module.student = plain(setup.module.student)


def wait_for_others(trainer: Trainer, setup: TrainingSetup, path: Path) -> None:
    """Wait until all processes of a training are here; errors are those of `explained`."""
    with explained(path, setup.data.batch_size, setup.data.num_workers):
        trainer.strategy.barrier("written")


def finished_epochs(run_dir: RunDir[EpochRecord], checkpoint: Path, setup: TrainingSetup) -> int:
    """Count the epochs that are kept, and drop what the journal has beyond them.

    ``checkpoint``, of the last finished epoch, need not exist. A `UserError` says where one of the
    files is damaged, or they do not go together.
    """
    lines = run_dir.journal.read()
    done, again = 0, "and the same command starts from the first epoch"
    if checkpoint.exists():
        try:
            content = torch.load(checkpoint, map_location="cpu", weights_only=True)
            done = _epochs_of(content, setup)
        except (pickle.UnpicklingError, *DAMAGED) as error:
            problem = one_line(error)
            if isinstance(error, pickle.UnpicklingError):
                problem = "it is no checkpoint, or holds more than tensors and numbers"
            raise UserError(f"{checkpoint} is damaged ({problem}); remove it, {again}") from error
    if done > len(lines):
        counts = f"{run_dir.journal.path} has {len(lines)} epochs, {checkpoint.name} {done}"
        raise UserError(f"{counts}; remove {checkpoint}, {again}")
    run_dir.journal.cut(lines[done - 1][1] if done else 0)
    return done


def _epochs_of(content: dict[str, Any], setup: TrainingSetup) -> int:
    """The finished epochs of a checkpoint, or a LookupError or ValueError where it is not ours."""
    saved = {name: tuple(value.shape) for name, value in content["state_dict"].items()}
    if saved != {name: tuple(value.shape) for name, value in setup.module.state_dict().items()}:
        raise ValueError("its weights are not those of this student")
    return int(content[TrainingData.__qualname__]["finished_epochs"])


@contextmanager
def _interruptible() -> Iterator[None]:
    """Lightning turns Ctrl-C into an exit and stops listening to it: undo both."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as stop:
        raise KeyboardInterrupt from stop
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)


def teacher_accuracy(
    config: Mapping[str, Any], setup: TrainingSetup, run_dir: RunDir[EpochRecord]
) -> TeacherAccuracy | None:
    """The teacher's own accuracy on the test images.

    None where there is no teacher, or one whose classifier is not of its weights. What an earlier
    start measured is in the run's saved state.
    """
    if not setup.module.needs_teacher:
        return None
    data, weights = setup.data, str(config["teacher"]["weights"])
    state, images = run_dir.load_state() or {}, len(data.test_dataset())
    if (known := state.get("teacher_top1")) is not None:
        return TeacherAccuracy(weights, float(known), images, images, state.get("teacher_chance"))
    network = trained_teacher(config, data)
    if untrained_classifier(network):
        return None
    with explained(run_dir.path, data.batch_size, data.num_workers):
        loader = setup.batches.test_dataloader()
        return of_teacher(network, weights, loader, config["device"], images)
