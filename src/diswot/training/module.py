"""The LightningModule: a student, its distillers, and one training step."""

import copy
import math
from collections.abc import Mapping
from functools import partial
from typing import Any, NoReturn, cast

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from diswot import keys
from diswot.data.training import Batch, TrainingData
from diswot.distillers import Distiller, Step
from diswot.distillers.schedules import Schedule
from diswot.errors import UserError
from diswot.models.outputs import Network, NetworkOutputs
from diswot.training.protocol import Mixed, Protocol
from diswot.training.stored import StoredOutputs
from diswot.training.teacher import FrozenTeacher, only_logits


class LossError(Exception):
    """A loss that is not finite; ``batch`` is what is needed to look into it, by name."""

    def __init__(self, message: str, batch: dict[str, object]) -> None:
        super().__init__(message)
        self.batch = batch


class Distillation(LightningModule):
    """A student and its distillers; the teacher is beside them, not in them.

    The loss is ``ce_weight · CE + Σ weight · loss`` over the distillers.

    Args:
        student: A `diswot.models.outputs.Network`, on the CPU.
        protocol, num_classes: How it is trained, and the columns of its logits.
        seed: Keys what networks draw while they train, and the mixing.
        distillers: Connected distillers by name; none: it learns from labels alone.
        teacher: What they learn from, if any of them does.
        stored: Outputs of the teacher for every view of every training image; then no teacher is
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
        stored: StoredOutputs | None = None,
    ) -> None:
        super().__init__()
        self.student = student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.distillers = nn.ModuleDict(dict(distillers or {}))
        self.protocol = protocol
        self.seed = seed
        losses = self._losses.values()  # the smallest weight that their publications use
        usual = min((distiller.ce_weight for distiller in losses), default=1.0)
        self.ce_weight = usual if protocol.ce_weight is None else protocol.ce_weight
        self.logits_only = all(distiller.logits_only for distiller in losses)
        self.best_val_top1 = -1.0
        self._teacher, self._stored = teacher, stored  # neither is in the state dict
        # A method, not the network itself, which would be registered twice.
        run = self.student.forward if self.logits_only else cast(Network, self.student).outputs
        mode = None if protocol.compile is True else protocol.compile
        self._run = torch.compile(run, mode=mode) if mode is not False else run
        accuracy = partial(MulticlassAccuracy, num_classes, average="micro")
        top5 = min(5, num_classes)
        self.accuracy = nn.ModuleDict({"top1": accuracy(top_k=1), "top5": accuracy(top_k=top5)})
        self.val_loss = MeanMetric()

    @property
    def _losses(self) -> Mapping[str, Distiller]:
        return cast("Mapping[str, Distiller]", dict(self.distillers.items()))

    @property
    def loss_weights(self) -> dict[str, float]:
        """Those of the distillers in the current epoch, by name."""
        return {name: each.weight_in(self.current_epoch) for name, each in self._losses.items()}

    @property
    def needs_teacher(self) -> bool:
        """Whether any distiller learns from a teacher."""
        return any(each.needs_teacher for each in self._losses.values())

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(B, K)`` of the student."""
        return cast(Tensor, self.student(_channels_last(images)))

    def setup(self, stage: str) -> None:
        """Bring what is beside the module to its device."""
        if self._teacher is not None:
            self._teacher.to(self.device)

    def on_train_epoch_start(self) -> None:
        """Keep what the teacher says of the epoch's view where the training images are."""
        if self._stored is not None:
            images = cast(TrainingData, cast(Any, self.trainer).datamodule).training.images
            view = self.current_epoch % self._stored.views
            self._told = self._stored.view(view, images.labels.device)

    @torch.no_grad()
    def balance(self, batch: Batch, share: float) -> None:
        """Set each distiller's weight so that its loss is ``share`` times the cross-entropy.

        ``share · CE / |loss|`` of the batch, not mixed, as in the last epoch, when warm-ups are
        over; to four digits, so that a weight that was read and given is the same. A `UserError`
        says of which loss no share can be taken.
        """
        for name, each in self._losses.items():
            if isinstance(each.weight, Schedule):
                raise UserError(
                    f"protocol.balance={share:g} gives distiller.{name}.weight, which is a "
                    "schedule already; leave one of them out"
                )
        (images, labels, indices), twin = batch, copy.deepcopy(self)  # BatchNorms count on
        if twin._stored is not None:
            twin._told = twin._stored.view(0, images.device)
        with torch.random.fork_rng(devices=[]):  # what dropout draws
            torch.manual_seed(keys.stable_hash("balance", self.seed))
            student = cast(Network, twin.student).outputs(_channels_last(images))
        last = self.protocol.max_epochs - 1
        losses = twin._distill(images, indices, student, labels, epoch=last, seed=self.seed)
        reference = cross_entropy(student.logits, labels).item()
        for name, value in losses.items():
            weight = share * reference / abs(value.item()) if value else math.inf
            if not math.isfinite(weight):
                raise UserError(
                    f"protocol.balance={share:g}: the loss of distiller {name} on the first batch "
                    f"is {value.item():g}; give null, and distiller.{name}.weight"
                )
            self._losses[name].weight = float(f"{weight:.4g}")

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch; a `LossError` where it is not finite."""
        images, labels, indices = batch
        draw = keys.generator("mixing", self.seed, self.current_epoch, batch_idx, self.global_rank)
        mixed = self.protocol.mixing(_channels_last(images), labels, draw)
        # Dropout and the like draw from the global generators: key them by the step.
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(
                keys.stable_hash("step", self.seed, self.current_epoch, batch_idx, self.global_rank)
            )
            output = self._run(mixed.images)
        student = only_logits(cast(Tensor, output)) if self.logits_only else output
        losses = {"ce": self._cross_entropy(student.logits, mixed)}
        if self.distillers:
            keyed = ("distillers", self.seed, self.current_epoch, batch_idx, self.global_rank)
            key, epoch = keys.stable_hash(*keyed), self.current_epoch
            losses |= self._distill(mixed.images, indices, student, labels, epoch=epoch, seed=key)
        weights = {"ce": self.ce_weight} | self.loss_weights
        loss = torch.stack([weights[name] * value for name, value in losses.items()]).sum()
        if not torch.isfinite(loss):
            self._refuse(batch, losses, batch_idx)
        self.log_dict(
            {"train_loss": loss.detach(), **{f"train_{n}": v.detach() for n, v in losses.items()}},
            on_step=False,
            on_epoch=True,
            logger=False,  # the journal's records are logged, once a checkpoint holds them
            batch_size=len(labels),
            sync_dist=self.trainer.world_size > 1,
        )
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count what the network gets right."""
        images, labels, _ = batch
        logits = self(images).float()
        for metric in self.accuracy.values():
            cast(MulticlassAccuracy, metric).update(logits, labels)
        self.val_loss.update(cross_entropy(logits, labels), len(labels))

    def on_validation_epoch_end(self) -> None:
        """Log accuracy in percent, under the names of last and best."""
        accuracy = cast("dict[str, MulticlassAccuracy]", dict(self.accuracy.items()))
        values = {f"val_{name}": 100 * metric.compute() for name, metric in accuracy.items()}
        self.best_val_top1 = max(self.best_val_top1, values["val_top1"].item())
        values |= {"val_loss": self.val_loss.compute()}
        self.log_dict(values, logger=False)
        self.log("best_val_top1", self.best_val_top1, logger=False)
        for each in (*accuracy.values(), self.val_loss):
            each.reset()

    def configure_optimizers(self) -> Any:
        """The protocol's optimiser over student and connectors, its schedule stepped each batch."""
        parameters = [*self.student.parameters(), *self.distillers.parameters()]
        optimizer = self.protocol.optimizer(p for p in parameters if p.requires_grad)
        schedule, epochs, trainer = self.protocol.schedule, self.protocol.max_epochs, self.trainer

        def factor(step: int) -> float:
            if not step:  # the batches are not counted yet
                return schedule(0.0, epochs)
            # Not trainer.estimated_stepping_batches: it begins to load before an epoch is restored.
            steps = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
            return schedule(step / steps, epochs)

        scheduler = LambdaLR(optimizer, factor)
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the best accuracy too, and weights that were measured."""
        checkpoint["best_val_top1"] = self.best_val_top1
        if self.protocol.balance is not None:
            checkpoint["loss_weights"] = self.loss_weights

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with them."""
        self.best_val_top1 = checkpoint["best_val_top1"]
        for name, weight in checkpoint.get("loss_weights", {}).items():
            self._losses[name].weight = weight

    def _cross_entropy(self, logits: Tensor, mixed: Mixed) -> Tensor:
        smoothing = self.protocol.label_smoothing
        loss = cross_entropy(logits, mixed.labels, label_smoothing=smoothing)
        if mixed.share == 1.0:
            return loss
        other = cross_entropy(logits, mixed.others, label_smoothing=smoothing)
        return mixed.share * loss + (1 - mixed.share) * other

    def _distill(
        self,
        images: Tensor,
        indices: Tensor,
        student: NetworkOutputs,
        labels: Tensor,
        *,
        epoch: int,
        seed: int,
    ) -> dict[str, Tensor]:
        if self._stored is not None:
            teacher = self._stored.outputs(self._told, indices, images.device)
        elif self._teacher is not None:
            teacher = self._teacher(images, logits_only=self.logits_only)
        else:
            teacher = student  # which no distiller reads as one
        weight = cast(Network, self.student).classifier.weight
        step = Step(
            labels=labels,
            epoch=epoch,
            teacher_weight=weight.new_empty(0) if self._teacher is None else self._teacher.weight,
            student_weight=weight,
            indices=indices,
            seed=seed,
        )
        with torch.autocast(self.device.type, enabled=False):  # relations overflow in half
            teacher, student = _float(teacher), _float(student)
            return {name: loss(teacher, student, step) for name, loss in self._losses.items()}

    def _refuse(self, batch: Batch, losses: Mapping[str, Tensor], number: int) -> NoReturn:
        values = {name: loss.item() for name, loss in losses.items()}
        listed = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        raise LossError(
            f"the loss is not finite in epoch {self.current_epoch}, batch {number} ({listed})",
            {
                "epoch": self.current_epoch,
                "batch": number,
                "losses": values,
                **dict(zip(("images", "labels", "indices"), (t.cpu() for t in batch), strict=True)),
                "student": {name: t.cpu() for name, t in self.student.state_dict().items()},
            },
        )


def _channels_last(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)


def _float(outputs: NetworkOutputs) -> NetworkOutputs:
    stages, before = (
        tuple(map(Tensor.float, maps)) for maps in (outputs.stages, outputs.preactivations)
    )
    return NetworkOutputs(stages, before, outputs.embedding.float(), outputs.logits.float())
