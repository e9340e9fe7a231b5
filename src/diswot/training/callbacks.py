"""Lightning callbacks that keep a training: journal, checkpoint, averaged weights, log."""

import io
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.plugins import TorchCheckpointIO
from safetensors.torch import save
from torch import Tensor

from diswot.errors import DivergedError, UserError
from diswot.models.parametrized import plain
from diswot.runs import EpochRecord, Journal
from diswot.runs.files import write_atomic
from diswot.training.module import Distillation


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints that are on the disk whole or not at all."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Replace the file in one step; on a full disk the checkpoint before is unharmed."""
        content = io.BytesIO()
        torch.save(checkpoint, content)
        write_atomic(Path(path), content.getvalue())


class EpochJournal(Callback):
    """Appends every finished epoch to the journal, and writes the best weights.

    Checkpoint callbacks run after all others, so a checkpoint is never ahead of the journal; what
    the journal has beyond the checkpoint is redone after a stop. ``dirpath`` is the run directory.
    """

    def __init__(self, dirpath: str | Path) -> None:
        self.best = Path(dirpath) / "best.safetensors"
        self._journal = Journal(Path(dirpath) / EpochRecord.file, EpochRecord)
        self._started = 0.0
        self._trained: float | None = None
        self._best = -1.0
        self._weights: dict[str, Tensor] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse Trainer arguments that leave epochs without validation."""
        if trainer.check_val_every_n_epoch != 1 or trainer.limit_val_batches == 0:
            raise UserError(
                f"trainer.limit_val_batches={trainer.limit_val_batches} "
                f"trainer.check_val_every_n_epoch={trainer.check_val_every_n_epoch}: every epoch "
                "is validated; give some batches, every epoch"
            )

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the time."""
        self._started, self._trained = time.monotonic(), None
        self._best = cast(Distillation, pl_module).best_val_top1

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Training ends where validation begins."""
        self._trained = time.monotonic() - self._started

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Copy the weights that were validated; an average is taken back after this."""
        if trainer.is_global_zero:
            student = plain(cast(Distillation, pl_module).student)
            self._weights = {
                name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
                for name, value in student.state_dict().items()
            }

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the epoch; UserError without validation, or with a loss there that is not finite."""
        if self._trained is None:
            raise UserError(
                f"epoch {trainer.current_epoch} ended before it was validated; leave out "
                "trainer.max_steps and what else ends an epoch early"
            )
        values = {name: value.item() for name, value in trainer.callback_metrics.items()}
        if not math.isfinite(values["val_loss"]):
            data = cast(Any, trainer).datamodule
            raise DivergedError(
                f"the loss on the {data.validated_on} images is {values['val_loss']} "
                f"after epoch {trainer.current_epoch}; try a smaller protocol.optimizer.lr or "
                "protocol.gradient_clip=5, in another hydra.run.dir"
            )
        if trainer.is_global_zero:
            self._journal.append(self._record(trainer, values, self._trained))
            self._journal.close()
            if cast(Distillation, pl_module).best_val_top1 > self._best:
                write_atomic(self.best, save(self._weights))

    def _record(self, trainer: Trainer, values: dict[str, float], trained: float) -> EpochRecord:
        batches = int(trainer.num_training_batches) * trainer.world_size
        images = batches * cast(Any, trainer).datamodule.data.batch_size
        return EpochRecord(
            epoch=trainer.current_epoch,
            lr=float(trainer.optimizers[0].param_groups[0]["lr"]),
            losses={n.removeprefix("train_"): v for n, v in values.items() if n[:6] == "train_"},
            val_loss=values["val_loss"],
            **{name: round(values[name], 4) for name in ("val_top1", "val_top5", "best_val_top1")},
            images_per_second=images / trained,
            seconds=time.monotonic() - self._started,
        )


def averaging(decay: float) -> WeightAveraging:
    """Exponential averages of all weights and buffers, which are then validated and saved.

    A step keeps ``decay`` of the average. A young one forgets faster, ``min(decay, (1 + n) / (10 +
    n))`` after n steps, or the initial weights would stay in it; Lightning's own
    ``EMAWeightAveraging`` has no such start.
    """

    def averaged(average: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
        if not average.is_floating_point():
            return current
        kept = min(decay, (1 + int(count)) / (10 + int(count)))
        return average.lerp(current, 1 - kept)

    return WeightAveraging(avg_fn=averaged)


class EpochLog(Callback):
    """Logs every epoch as the journal has it, once the checkpoint holds it, so none is redone.

    ``log`` takes metrics by name and the epoch; ``once`` are further metrics of epoch 0.
    """

    def __init__(
        self,
        log: Callable[[Mapping[str, float], int], object],
        journal: Journal[EpochRecord],
        once: Mapping[str, float],
    ) -> None:
        self._log, self._journal, self._once = log, journal, once
        self._logged = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Begin where the journal ends."""
        self._logged = len(self._journal.read())

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log what is new: checkpoint callbacks have run after the epoch before."""
        fresh = [epoch for epoch, _ in self._journal.read()][self._logged :]
        self._logged += len(fresh)
        for epoch in fresh:
            metrics: dict[str, Any] = asdict(epoch)
            step, losses = metrics.pop("epoch"), metrics.pop("losses")
            metrics |= {f"train_{name}": value for name, value in losses.items()}
            self._log({**metrics, **(self._once if step == 0 else {})}, step)

    on_fit_end = on_train_epoch_start
