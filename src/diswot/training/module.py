"""The LightningModule: a student, what teaches it, and one training step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from diswot import _torchvision, keys
from diswot.data.training import Batch, TrainingData
from diswot.distillers.base import Distiller, Step
from diswot.models.outputs import Network, NetworkOutputs
from diswot.training.failures import refuse_loss
from diswot.training.mixing import Mixed
from diswot.training.protocol import Protocol
from diswot.training.stored import StoredLogits
from diswot.training.teacher import FrozenTeacher, only_logits

_torchvision.ensure()

from lightning import LightningModule  # noqa: E402  (imports torchvision)
from torchmetrics import MeanMetric  # noqa: E402
from torchmetrics.classification import MulticlassAccuracy  # noqa: E402

__all__ = ["Distillation"]


class Distillation(LightningModule):
    """A student and its distillers; the teacher is beside them, not in them.

    The loss is ``ce_weight · CE + Σ weight · loss`` over the distillers.

    Args:
        student: A `diswot.models.outputs.Network`, on the CPU.
        protocol: How it is trained.
        num_classes: Columns of the logits.
        seed: Keys what networks draw while they train, and the mixing.
        distillers: Connected distillers by name; none: it learns from labels alone.
        teacher: What they learn from.
        stored: Logits of the teacher for every view of every training image; then no teacher is
            needed.
    """

    def __init__(
        self,
        student: nn.Module,
        protocol: Protocol,
        num_classes: int,
        *,
        seed: int = 0,
        distillers: Mapping[str, Distiller] | None = None,
        teacher: FrozenTeacher | None = None,
        stored: StoredLogits | None = None,
    ) -> None:
        super().__init__()
        self.student = student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.distillers = nn.ModuleDict(dict(distillers or {}))
        self.average = _average(self.student, protocol.ema) if protocol.ema else None
        self.protocol = protocol
        self.seed = seed
        self.ce_weight = _ce_weight(protocol, self._losses)
        self.logits_only = all(distiller.logits_only for distiller in self._losses.values())
        self.best_val_top1 = -1.0
        self._teacher, self._stored = teacher, stored  # neither is in the state dict
        self._run = self._student_run(protocol.compile)
        ranks = {"top1": 1, "top5": min(5, num_classes)}
        self.accuracy = nn.ModuleDict(
            {
                name: MulticlassAccuracy(num_classes, top_k=k, average="micro")
                for name, k in ranks.items()
            }
        )
        self.val_loss = MeanMetric()

    @property
    def evaluated(self) -> nn.Module:
        """The network that is evaluated and saved: the average of weights, if there is one."""
        return self.student if self.average is None else self.average.module

    @property
    def _losses(self) -> Mapping[str, Distiller]:
        return cast("Mapping[str, Distiller]", dict(self.distillers.items()))

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(B, K)`` of the evaluated network."""
        return cast(Tensor, self.evaluated(_channels_last(images)))

    def setup(self, stage: str) -> None:
        """Bring what is beside the module to its device."""
        if self._teacher is not None:
            self._teacher.to(self.device)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch."""
        images, labels, indices = batch
        draw = keys.generator("mixing", self.seed, self.current_epoch, batch_idx, self.global_rank)
        mixed = self.protocol.mixing(_channels_last(images), labels, draw)
        with self._keyed(batch_idx):
            said = self._run(mixed.images)
        student = only_logits(cast(Tensor, said)) if self.logits_only else said
        losses = {"ce": self._cross_entropy(student.logits, mixed)}
        if self.distillers:
            taught = self._taught(mixed.images, indices)
            losses |= self._distill(taught, student, labels)
        weights = {"ce": self.ce_weight} | {n: d.weight for n, d in self._losses.items()}
        loss = torch.stack([weights[name] * value for name, value in losses.items()]).sum()
        if not torch.isfinite(loss):
            refuse_loss(self, batch, losses, batch_idx)
        self.log_dict(
            {"train_loss": loss.detach(), **{f"train_{n}": v.detach() for n, v in losses.items()}},
            on_step=False,
            on_epoch=True,
            batch_size=len(labels),
            sync_dist=self.trainer.world_size > 1,
        )
        return loss

    def on_train_batch_end(self, *_: object) -> None:
        """Follow the student with the average."""
        if self.average is not None:
            self.average.update_parameters(self.student)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count what the evaluated network gets right."""
        images, labels, _ = batch
        logits = self(images).float()
        for _, metric in self._metrics():
            metric.update(logits, labels)
        self.val_loss.update(F.cross_entropy(logits, labels), len(labels))

    def on_validation_epoch_end(self) -> None:
        """Log accuracy in percent, under the names of last and best."""
        found = {f"val_{name}": 100 * m.compute() for name, m in self._metrics()}
        self.best_val_top1 = max(self.best_val_top1, found["val_top1"].item())
        self.log_dict({**found, "val_loss": self.val_loss.compute()})
        self.log("best_val_top1", self.best_val_top1)
        for metric in (*self.accuracy.values(), self.val_loss):
            cast(MeanMetric, metric).reset()

    def configure_optimizers(self) -> Any:
        """The protocol's optimiser over student and connectors, its schedule stepped each batch."""
        parameters = [*self.student.parameters(), *self.distillers.parameters()]
        optimizer = self.protocol.optimizer(p for p in parameters if p.requires_grad)
        schedule, epochs = self.protocol.schedule, self.protocol.max_epochs
        # Not trainer.estimated_stepping_batches: it begins to load before an epoch is restored.
        batches = cast(TrainingData, self.trainer.datamodule).training  # type: ignore[attr-defined]
        steps = batches.count // self.trainer.world_size
        scheduler = LambdaLR(optimizer, lambda step: schedule(step / steps, epochs))
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the best accuracy too."""
        checkpoint["best_val_top1"] = self.best_val_top1

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with it."""
        self.best_val_top1 = checkpoint["best_val_top1"]

    def _metrics(self) -> Iterator[tuple[str, MulticlassAccuracy]]:
        return iter(cast("dict[str, MulticlassAccuracy]", dict(self.accuracy.items())).items())

    def _student_run(self, compiled: bool) -> Callable[[Tensor], Any]:
        # Not the network itself, which would be registered twice.
        run = self.student.forward if self.logits_only else cast(Network, self.student).outputs
        if compiled:
            run = torch.compile(run)
        return run

    @contextmanager
    def _keyed(self, batch_idx: int) -> Iterator[None]:
        """Dropout and the like draw from the global generators: key them by the step."""
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(
                keys.stable_hash("step", self.seed, self.current_epoch, batch_idx, self.global_rank)
            )
            yield

    def _cross_entropy(self, logits: Tensor, mixed: Mixed) -> Tensor:
        smoothing = self.protocol.label_smoothing
        loss = F.cross_entropy(logits, mixed.labels, label_smoothing=smoothing)
        if mixed.share == 1.0:
            return loss
        other = F.cross_entropy(logits, mixed.others, label_smoothing=smoothing)
        return mixed.share * loss + (1 - mixed.share) * other

    def _taught(self, images: Tensor, indices: Tensor) -> NetworkOutputs:
        if self._stored is not None:
            view = self.current_epoch % len(self._stored)
            return only_logits(self._stored[view, indices.cpu()].to(images.device))
        return cast(FrozenTeacher, self._teacher)(images, logits_only=self.logits_only)

    def _distill(
        self, teacher: NetworkOutputs, student: NetworkOutputs, labels: Tensor
    ) -> dict[str, Tensor]:
        weight = cast(Network, self.student).classifier.weight
        step = Step(
            labels=labels,
            epoch=self.current_epoch,
            teacher_weight=weight.new_empty(0) if self._teacher is None else self._teacher.weight,
            student_weight=weight,
        )
        with torch.autocast(self.device.type, enabled=False):  # relations overflow in half
            teacher, student = _float(teacher), _float(student)
            return {name: loss(teacher, student, step) for name, loss in self._losses.items()}


def _ce_weight(protocol: Protocol, distillers: Mapping[str, Distiller]) -> float:
    """The protocol's, else the smallest that the distillers' publications use."""
    if protocol.ce_weight is not None:
        return protocol.ce_weight
    return min((distiller.ce_weight for distiller in distillers.values()), default=1.0)


def _average(student: nn.Module, decay: float) -> AveragedModel:
    follow = partial(_follow, decay)
    return AveragedModel(student, avg_fn=follow, use_buffers=True).requires_grad_(False)


def _follow(decay: float, average: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
    if not average.is_floating_point():
        return current
    # A young average forgets faster, or the initial weights would stay in it.
    kept = min(decay, (1 + int(count)) / (10 + int(count)))
    return average.lerp(current, 1 - kept)


def _channels_last(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)


def _float(outputs: NetworkOutputs) -> NetworkOutputs:
    return NetworkOutputs(
        tuple(map(Tensor.float, outputs.stages)),
        tuple(map(Tensor.float, outputs.preactivations)),
        outputs.embedding.float(),
        outputs.logits.float(),
    )
