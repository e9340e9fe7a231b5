"""What a training shows before, while and after it runs, and the files it leaves."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from diswot import _torchvision
from diswot.checkpoint import describe_student, save_student
from diswot.console import print_lines, print_pairs, shown
from diswot.models.cost import count_flops, count_params
from diswot.models.weights import load_weights
from diswot.reporting.curves import plot_curves
from diswot.runs import TrainSummary, write_atomic
from diswot.training.run import accuracy
from diswot.versions import versions

_torchvision.ensure()

from lightning import Callback, LightningModule, Trainer  # noqa: E402  (imports torchvision)

if TYPE_CHECKING:
    from diswot.runs import EpochRecord, RunDir
    from diswot.training.setup import TrainingSetup

__all__ = ["TrainProgress", "export", "show_plan", "show_result"]


def show_plan(config: Mapping[str, Any], setup: TrainingSetup, path: Path) -> None:
    """What is about to happen, one line an item."""
    module, data, protocol = setup.module, setup.data, setup.protocol
    learned = {name: node["weight"] for name, node in (config["distiller"] or {}).items()}
    losses = [f"{module.ce_weight:g} · cross-entropy"]
    losses += [f"{weight:g} · {name}" for name, weight in learned.items()]
    training = len(setup.batches.training.chosen)
    connectors = count_params(module.distillers)
    print_pairs(
        {
            "student": f"{student_name(config)}, {count_params(module.student):,} parameters",
            "teacher": _teacher(config) or "none",
            "loss": " + ".join(losses)
            + (f"; connectors with {connectors:,} parameters" if connectors else ""),
            "data": f"{data.name}, {training:,} images of {data.image_size}×{data.image_size}, "
            f"{data.num_classes} classes; validated on the {setup.batches.validated_on} images",
            "trainer": f"{protocol.name}, {protocol.max_epochs} epochs, "
            f"batch {data.batch_size}, seed {config['seed']}",
            "device": f"{config['device']}, {config['precision']}"
            + (f", {protocol.devices} processes" if protocol.devices > 1 else ""),
            "run dir": shown(path),
        }
    )


def student_name(config: Mapping[str, Any]) -> str:
    """The architecture where there is one, else the network's name."""
    return str(config["student"].get("arch") or config["student"]["name"])


def _teacher(config: Mapping[str, Any]) -> str | None:
    if not config["distiller"]:
        return None
    return f"{config['teacher']['name']} (weights: {config['teacher']['weights']})"


class TrainProgress(Callback):
    """A bar on a terminal, a line an epoch everywhere: losses, accuracy, rate, time left."""

    def __init__(self) -> None:
        self._seconds: list[float] = []
        self._started = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the bar."""
        if not trainer.is_global_zero:
            return
        console = Console(highlight=False, soft_wrap=True)
        columns = (TextColumn("[bold]epoch {task.fields[epoch]}"), BarColumn())
        self._bar = Bar(
            *columns,
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(compact=True),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        total = int(trainer.num_training_batches) * (trainer.max_epochs or 0)
        self._task = self._bar.add_task("", total=total, epoch="", rate="")
        self._bar.start()
        if trainer.current_epoch:
            console.print(f"Going on after epoch {trainer.current_epoch} of {trainer.max_epochs}.")

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the time."""
        self._started = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar."""
        if trainer.is_global_zero and not self._bar.disable:
            images = len(batch[1]) * (batch_idx + 1) * trainer.world_size
            rate = images / (time.monotonic() - self._started)
            self._bar.update(
                self._task,
                completed=trainer.global_step,
                epoch=f"{trainer.current_epoch + 1}/{trainer.max_epochs}",
                rate=f"{rate:,.0f} images/s",
            )

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """One line on the epoch."""
        if not trainer.is_global_zero:
            return
        self._seconds.append(time.monotonic() - self._started)
        found = {name: value.item() for name, value in trainer.callback_metrics.items()}
        epochs, done = trainer.max_epochs or 0, trainer.current_epoch + 1
        left = (epochs - done) * sum(self._seconds) / len(self._seconds)
        losses = ", ".join(f"{n[6:]} {v:.4g}" for n, v in found.items() if n.startswith("train_"))
        self._bar.console.print(
            f"epoch {done}/{epochs}  {losses}  top-1 {found['val_top1']:.2f}  "
            f"best {found['best_val_top1']:.2f}  {self._seconds[-1]:.0f} s, {left:.0f} s left"
        )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the bar away."""
        if trainer.is_global_zero:
            self._bar.stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: Any) -> None:
        """Take the bar away."""
        if hasattr(self, "_bar"):
            self._bar.stop()


def export(
    config: Mapping[str, Any],
    setup: TrainingSetup,
    run_dir: RunDir[EpochRecord],
    epochs: Sequence[EpochRecord],
) -> TrainSummary:
    """Write the student, metrics.csv, curves.png and result.json; gives what the last holds."""
    folder, data, network = run_dir.path, setup.data, setup.module.evaluated
    tested = _tested(config, setup, epochs, folder)
    description = describe_student(
        config,
        num_classes=data.num_classes,
        in_channels=data.in_channels,
        image_size=data.image_size,
        mean=data.mean,
        std=data.std,
    )
    save_student(network, folder, description)
    trained = sum(1 / epoch.images_per_second for epoch in epochs)  # seconds an image, each epoch
    seconds = sum(epoch.seconds for epoch in epochs)
    result = TrainSummary(
        student=student_name(config),
        space=(config["space"] or {}).get("name"),
        teacher=config["teacher"]["name"] if config["distiller"] else None,
        teacher_weights=config["teacher"]["weights"] if config["distiller"] else None,
        teacher_sha256=config["teacher"].get("sha256") if config["distiller"] else None,
        distiller=list(config["distiller"] or {}),
        data=data.name,
        protocol=setup.protocol.name,
        epochs=len(epochs),
        **tested,
        best_val_top1=epochs[-1].best_val_top1,
        best_epoch=max(epochs, key=lambda epoch: epoch.val_top1).epoch,
        validated_on=setup.batches.validated_on,
        params=count_params(network if setup.module.average is None else setup.module.student),
        flops=count_flops(network, (data.in_channels, data.image_size, data.image_size)),
        images_per_second=round(len(epochs) / trained, 1),
        seconds=round(seconds, 1),
        seed=config["seed"],
        checkpoint="student.safetensors",
        device=config["device"],
        threads=torch.get_num_threads(),
        versions=versions(),
    )
    _metrics_csv(folder / "metrics.csv", epochs)
    plot_curves(folder / "curves.png", epochs, _title(result), setup.batches.validated_on)
    run_dir.save_result(result)
    return result


def _tested(
    config: Mapping[str, Any], setup: TrainingSetup, epochs: Sequence[EpochRecord], folder: Path
) -> dict[str, Any]:
    """Accuracy on the test images: of the last epoch, and of the best where others chose it."""
    if setup.batches.validated_on == "test":
        return {"test_top1": epochs[-1].val_top1, "test_top5": epochs[-1].val_top5}
    network, loader = setup.module.evaluated, setup.batches.test_dataloader()
    last = accuracy(network, loader, config["device"])
    kept = {name: value.clone() for name, value in network.state_dict().items()}
    load_weights(network, str(folder / "best.safetensors"), name="best", setting="best epoch")
    best = accuracy(network, loader, config["device"])
    network.load_state_dict(kept)
    return {
        "test_top1": last["top1"],
        "test_top5": last["top5"],
        "test_top1_of_best": best["top1"],
    }


def _title(result: TrainSummary) -> str:
    taught = f" taught by {result.teacher} ({', '.join(result.distiller)})"
    return f"{result.student}{taught if result.teacher else ' alone'}, {result.data}"


def _metrics_csv(path: Path, epochs: Sequence[EpochRecord]) -> None:
    losses = list(epochs[0].losses)
    columns = [name for name in vars(replace(epochs[0])) if name != "losses"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*columns, *(f"train_{name}" for name in losses)])
    for epoch in epochs:
        row = [getattr(epoch, column) for column in columns]
        writer.writerow([*row, *(epoch.losses[name] for name in losses)])
    write_atomic(path, text.getvalue().encode())


def show_result(result: TrainSummary, path: Path) -> None:
    """Accuracies and the paths of the files."""
    taught = f", taught by {result.teacher} ({', '.join(result.distiller)})"
    of_best = result.test_top1_of_best
    lines = [
        f"{result.student}{taught if result.teacher else ', alone'}: "
        f"top-1 {result.test_top1:.2f} %, top-5 {result.test_top5:.2f} % on the test images "
        f"after {result.epochs} epochs",
        f"best epoch: {result.best_val_top1:.2f} % on the {result.validated_on} images"
        + (f", {of_best:.2f} % on the test images" if of_best is not None else ""),
        f"{result.params:,} parameters, {result.flops:,} MACs; {result.seconds:.0f} s, "
        f"{result.images_per_second:,.0f} images/s",
        *(
            f"  {shown(path / name)}"
            for name in ("result.json", "metrics.csv", "curves.png", "student.safetensors")
        ),
    ]
    print_lines(lines)
