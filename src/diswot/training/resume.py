"""Where a stopped training goes on: what its checkpoint and its journal say."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from diswot.errors import UserError
from diswot.models.weights import DAMAGED, one_line
from diswot.runs import EpochRecord, RunDir
from diswot.training.module import Distillation

__all__ = ["finished_epochs"]

_KEYS = ("pytorch-lightning_version", "optimizer_states", "lr_schedulers", "best_val_top1")


def finished_epochs(run_dir: RunDir[EpochRecord], checkpoint: Path, module: Distillation) -> int:
    """Count the epochs that are kept, and drop what the journal has beyond them.

    Args:
        run_dir: Open.
        checkpoint: Of the last finished epoch; it need not exist.
        module: What is trained.

    Raises:
        UserError: One of the files is damaged, or they do not go together.
    """
    lines = run_dir.journal.read()
    _check_journal(run_dir.journal.path, [record for record, _ in lines])
    done = _epochs_of(checkpoint, module) if checkpoint.exists() else 0
    if done > len(lines):
        raise UserError(
            f"{run_dir.journal.path} has {len(lines)} epochs, {checkpoint.name} {done}; remove "
            f"{checkpoint}, and the same command starts from the first epoch"
        )
    run_dir.journal.cut(lines[done - 1][1] if done else 0)
    return done


def _check_journal(path: Path, epochs: list[EpochRecord]) -> None:
    for number, epoch in enumerate(epochs):
        same = set(epoch.losses) == set(epochs[0].losses) and "loss" in epoch.losses
        if epoch.epoch != number or not same or min(epoch.seconds, epoch.images_per_second) <= 0:
            raise UserError(
                f"{path}, line {number + 1} is damaged; remove it, all after it and last.ckpt, and "
                "the same command starts from the first epoch"
            )


def _epochs_of(checkpoint: Path, module: Distillation) -> int:
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
        return _check(content, module)
    except pickle.UnpicklingError:
        problem = "it is no checkpoint, or holds more than tensors and numbers"
    except DAMAGED as error:
        problem = one_line(error)
    raise UserError(
        f"{checkpoint} is damaged ({problem}); remove it, and the same command starts from the "
        "first epoch"
    )


def _check(content: dict[str, Any], module: Distillation) -> int:
    """Give the finished epochs of a checkpoint.

    Raises:
        ValueError: It is not what this training writes.
        LookupError: It lacks something.
    """
    if missing := [key for key in _KEYS if key not in content]:
        raise ValueError(f"it lacks {', '.join(missing)}")
    saved = {name: tuple(value.shape) for name, value in content["state_dict"].items()}
    if saved != {name: tuple(value.shape) for name, value in module.state_dict().items()}:
        raise ValueError("its weights are not those of this student")
    done = content["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
    if type(done) is not int or done < 1:
        raise ValueError(f"{done} finished epochs")
    return done
