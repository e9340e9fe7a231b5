"""Keeps every finished epoch: journal, weights, checkpoint."""

from __future__ import annotations

import io
import math
import time
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save

from diswot import _torchvision
from diswot.errors import UserError
from diswot.runs import EpochRecord, Journal
from diswot.runs.files import write_atomic
from diswot.training.module import Distillation

_torchvision.ensure()

from lightning import LightningModule, Trainer  # noqa: E402  (imports torchvision)
from lightning.pytorch.callbacks import Checkpoint  # noqa: E402
from lightning.pytorch.plugins import TorchCheckpointIO  # noqa: E402

__all__ = ["AtomicCheckpoints", "Keeper"]


class AtomicCheckpoints(TorchCheckpointIO):
    """Checkpoints that are there whole or not at all."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Replace the file in one step.

        Raises:
            OSError: The disk is full; the checkpoint before is unharmed.
        """
        content = io.BytesIO()
        torch.save(checkpoint, content)
        write_atomic(Path(path), content.getvalue())


class Keeper(Checkpoint):
    """After every epoch: a line in the journal, the best weights, the checkpoint, in this order.

    A run that was stopped goes on from the checkpoint; what the journal has beyond it is redone.

    Args:
        folder: The run directory.
        images: Training images of an epoch, over all processes.
    """

    def __init__(self, folder: Path, images: int) -> None:
        self.checkpoint = folder / "last.ckpt"
        self.best = folder / "best.safetensors"
        self._journal = Journal(folder / EpochRecord.file, EpochRecord)
        self._images = images
        self._started = 0.0
        self._best = -1.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the time."""
        self._started = time.monotonic()
        self._best = cast(Distillation, pl_module).best_val_top1

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Training ends where validation begins."""
        self._trained = time.monotonic() - self._started

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the epoch.

        Raises:
            UserError: The loss of validation is not finite.
        """
        module = cast(Distillation, pl_module)
        _refuse_loss(trainer)
        if trainer.is_global_zero:
            self._journal.append(self._epoch(trainer))
            self._journal.sync()
            self._journal.close()
            if module.best_val_top1 > self._best:
                write_atomic(self.best, save(bare(module.evaluated)))
        trainer.save_checkpoint(self.checkpoint)

    def _epoch(self, trainer: Trainer) -> EpochRecord:
        found = {name: value.item() for name, value in trainer.callback_metrics.items()}
        return EpochRecord(
            epoch=trainer.current_epoch,
            lr=float(trainer.optimizers[0].param_groups[0]["lr"]),
            losses={
                n.removeprefix("train_"): v for n, v in found.items() if n.startswith("train_")
            },
            val_loss=found["val_loss"],
            **{name: round(found[name], 4) for name in ("val_top1", "val_top5", "best_val_top1")},
            images_per_second=self._images / self._trained,
            seconds=time.monotonic() - self._started,
        )


def _refuse_loss(trainer: Trainer) -> None:
    loss = trainer.callback_metrics["val_loss"].item()
    if not math.isfinite(loss):
        raise UserError(
            f"the loss on the {trainer.datamodule.validated_on} images is {loss} after epoch "  # type: ignore[attr-defined]
            f"{trainer.current_epoch}; try a smaller trainer.optimizer.lr or "
            "trainer.gradient_clip=5, in another hydra.run.dir"
        )


def bare(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The state dict, in plain memory order on the CPU."""
    return {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
