"""Console output and files of a training: plan, epochs, result, curves."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from diswot import _torchvision
from diswot.checkpoint import describe_student, save_student
from diswot.console import counted, print_lines, print_pairs, shown
from diswot.models.outputs import count_flops, count_params
from diswot.models.weights import load_weights
from diswot.reporting import drawing
from diswot.reporting.plots import plot_losses, plot_rate, plot_top1
from diswot.runs import EpochRecord, TrainSummary, find_runs, read_epochs, write_table
from diswot.teaching import accuracy, teacher_cost
from diswot.training.processes import world_size
from diswot.versions import versions

_torchvision.ensure()

from lightning import Callback, LightningModule, Trainer  # noqa: E402  (imports torchvision)

if TYPE_CHECKING:
    from diswot.distillers import Distiller
    from diswot.runs import RunDir, TeacherAccuracy
    from diswot.training.setup import TrainingSetup


_FEW = 100  # steps, in which a network hardly leaves where it began
_ENOUGH, _SMALL_BATCH = 400, 16  # what is proposed in their place


def longer(images: int, epochs: int, batch_size: int) -> list[str]:
    """Settings of a training on so few images that its own give too few steps; else none."""
    if epochs * (images // batch_size) >= _FEW or images < _SMALL_BATCH:
        return []
    epochs = max(epochs, math.ceil(_ENOUGH / (images // _SMALL_BATCH)))
    return [f"protocol.max_epochs={epochs}", f"data.batch_size={_SMALL_BATCH}"]


def show_plan(
    config: Mapping[str, Any], setup: TrainingSetup, path: Path, teacher_top1: float | None
) -> None:
    """What is about to happen, one line an item."""
    module, data, protocol = setup.module, setup.data, setup.protocol
    losses = [f"{module.ce_weight:g} · cross-entropy"]
    distillers = cast("dict[str, Distiller]", dict(module.distillers.items()))
    losses += [f"{each.weight:g} · {name}" for name, each in distillers.items()]
    balanced = distillers and protocol.balance is not None
    balance = f"; balanced to {protocol.balance:g} on the first batch" if balanced else ""
    training = len(setup.batches.training.chosen)
    connectors = count_params(module.distillers)
    further = f"; connectors with {connectors:,} parameters" if connectors else ""
    teacher, processes = config["teacher"], world_size(config["trainer"])
    taught = "none"
    if distillers:
        cost = teacher_cost(teacher, data.num_classes, data.image_shape)
        top1 = "without a classifier for these classes"
        if teacher_top1 is not None:
            top1 = f"top-1 {teacher_top1:.2f} % on the test images"
        taught = f"{teacher['name']} (weights: {teacher['weights']}), {cost}, {top1}"
    several = f", {processes} processes" if processes > 1 else ""
    limit = config["trainer"].get("limit_train_batches")
    batches = setup.batches.training.count
    steps = protocol.max_epochs * (min(batches, limit) if isinstance(limit, int) else batches)
    more = [] if limit else longer(training, protocol.max_epochs, data.batch_size)
    advice = f"{' '.join(more)} gives {_ENOUGH} or more" if more else "more epochs give more"
    few = f" (few: {advice})" if steps < _FEW else ""
    print_pairs(
        {
            "student": f"{_student(config)}, {count_params(module.student):,} parameters",
            "teacher": taught,
            "loss": f"{' + '.join(losses)}{balance}{further}",
            "data": f"{data.name}, {training:,} images of {data.image_size}×{data.image_size}, "
            f"{data.num_classes} classes; validated on the {setup.batches.validated_on} images",
            "protocol": f"{protocol.name}, {counted(protocol.max_epochs, 'epoch')}, "
            f"batch {data.batch_size}, {counted(steps, 'step')}{few}, seed {config['seed']}",
            "device": f"{config['device']}, {config['precision']}{several}",
            "run dir": shown(path),
        }
    )


def _student(config: Mapping[str, Any]) -> str:
    """The architecture where there is one, else the network's name."""
    return str(config["student"].get("arch") or config["student"]["name"])


def _title(config: Mapping[str, Any]) -> str:
    """Student, teacher and distillers in words."""
    return f"{_student(config)} {_taught(config['teacher']['name'], config['distiller'] or ())}"


def _taught(teacher: str | None, distillers: Iterable[str], further: str = "") -> str:
    """By whom and by which distillers; without a teacher a student may teach itself."""
    by = "itself" if teacher in (None, "none") else teacher
    names = ", ".join(distillers)
    return f"taught by {by} ({names}{further})" if names else "alone"


class EpochLines(Callback):
    """A line an epoch: losses, accuracy, time of the epoch and left."""

    def __init__(self) -> None:
        self._ends: list[float] = []  # of the epochs; before them the start

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say where a stopped training goes on."""
        self._ends = [time.monotonic()]
        if trainer.current_epoch:
            done = f"after epoch {trainer.current_epoch} of {trainer.max_epochs}"
            self._print(trainer, pl_module, f"Going on {done}.")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """One line on the epoch."""
        self._ends.append(time.monotonic())
        before, now = self._ends[-2:]
        values = {name: value.item() for name, value in trainer.callback_metrics.items()}
        epochs, done = trainer.max_epochs or 0, trainer.current_epoch + 1
        left = (epochs - done) * (now - self._ends[0]) / (len(self._ends) - 1)
        losses = ", ".join(f"{n[6:]} {v:.4g}" for n, v in values.items() if n[:6] == "train_")
        line = (
            f"epoch {done}/{epochs}  {losses}  top-1 {values['val_top1']:.2f}  best "
            f"{values['best_val_top1']:.2f}  {now - before:.0f} s, {left:.0f} s left"
        )
        self._print(trainer, pl_module, line)

    def _print(self, trainer: Trainer, pl_module: LightningModule, line: str) -> None:
        if trainer.progress_bar_callback is not None:
            pl_module.print(line)  # above the bar
        elif trainer.is_global_zero:
            print_lines([line])


class EpochCurves(Callback):
    """Leaves ``curves.png`` of all epochs, those of earlier starts too, in a run directory."""

    def __init__(self, dirpath: str | Path) -> None:
        self._path = Path(dirpath)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw it."""
        if trainer.is_global_zero:
            config = find_runs([self._path])[0].config
            data = cast(Any, trainer).datamodule
            title = f"{_title(config)}, {data.data.name}"
            epochs = read_epochs(self._path)
            plot_curves(self._path / "curves.png", epochs, title, data.validated_on)


def plot_curves(path: Path, epochs: Sequence[EpochRecord], title: str, validated_on: str) -> None:
    """Losses, accuracy on ``validation`` or ``test`` images and learning rate over the epochs."""
    with drawing(path, title, 13, 4) as figure:
        losses, accuracies, rate = figure.subplots(1, 3)
        plot_losses(losses, {"": epochs})
        plot_top1(accuracies, {"": epochs}, validated_on)
        plot_rate(rate, {"": epochs})


def export(
    config: Mapping[str, Any],
    setup: TrainingSetup,
    run_dir: RunDir[EpochRecord],
    epochs: Sequence[EpochRecord],
    own: TeacherAccuracy | None = None,
) -> TrainSummary:
    """Write the student, metrics.csv and result.json; gives what the last holds.

    ``own`` is the teacher's accuracy.
    """
    folder, data, network = run_dir.path, setup.data, setup.module.student
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
    teacher = config["teacher"] if setup.module.needs_teacher else {}
    trained = sum(1 / epoch.images_per_second for epoch in epochs)  # seconds an image, each epoch
    seconds = sum(epoch.seconds for epoch in epochs)
    result = TrainSummary(
        student=_student(config),
        space=(config["space"] or {}).get("name"),
        teacher=teacher.get("name"),
        teacher_weights=teacher.get("weights"),
        teacher_sha256=teacher.get("sha256"),
        teacher_top1=own.top1 if own else None,
        teacher_chance=own.chance if own else None,
        distiller=list(config["distiller"] or {}),
        loss_weights=setup.module.loss_weights,
        data=data.name,
        protocol=setup.protocol.name,
        epochs=len(epochs),
        **tested,
        best_val_top1=epochs[-1].best_val_top1,
        best_epoch=max(epochs, key=lambda epoch: epoch.val_top1).epoch,
        validated_on=setup.batches.validated_on,
        params=count_params(network),
        flops=count_flops(network, data.image_shape),
        images_per_second=round(len(epochs) / trained, 1),
        seconds=round(seconds, 1),
        seed=config["seed"],
        checkpoint="student.safetensors",
        device=config["device"],
        threads=torch.get_num_threads(),
        versions=versions(),
    )
    rows = [asdict(epoch) for epoch in epochs]
    for row in rows:
        row |= {f"train_{name}": value for name, value in row.pop("losses").items()}
    write_table(folder / "metrics.csv", list(rows[0]), [list(row.values()) for row in rows])
    run_dir.save_result(result)
    return result


def _tested(
    config: Mapping[str, Any], setup: TrainingSetup, epochs: Sequence[EpochRecord], folder: Path
) -> dict[str, Any]:
    """Accuracy on the test images: of the last epoch, and of the best where others chose it."""
    limit = config["trainer"].get("limit_val_batches")  # 1 is a batch, 1.0 are all
    whole = limit is None or (isinstance(limit, float) and limit == 1)
    if setup.batches.validated_on == "test" and whole:
        return {"test_top1": epochs[-1].val_top1, "test_top5": epochs[-1].val_top5}
    setup.batches.trainer = None  # all images, where several processes had a share each
    network, loader = setup.module.student, setup.batches.test_dataloader()
    last = accuracy(network, loader, config["device"])
    of_last = {f"test_{name}": last[name] for name in ("top1", "top5")}
    if epochs[-1].val_top1 > max((epoch.val_top1 for epoch in epochs[:-1]), default=-1.0):
        return {**of_last, "test_top1_of_best": last["top1"]}  # the last one is the best
    kept = {name: value.clone() for name, value in network.state_dict().items()}
    load_weights(network, str(folder / "best.safetensors"), name="best", setting="best epoch")
    best = accuracy(network, loader, config["device"])
    network.load_state_dict(kept)
    return {**of_last, "test_top1_of_best": best["top1"]}


def show_result(result: TrainSummary, path: Path) -> None:
    """Accuracies and the paths of the files."""
    own = "" if result.teacher_top1 is None else f"; itself top-1 {result.teacher_top1:.2f} %"
    of_best = result.test_top1_of_best
    lines = [
        f"{result.student}, {_taught(result.teacher, result.distiller, own)}: "
        f"top-1 {result.test_top1:.2f} %, top-5 {result.test_top5:.2f} % on the test images "
        f"after {result.epochs} epochs",
        f"best epoch: {result.best_val_top1:.2f} % on the {result.validated_on} images"
        + (f", {of_best:.2f} % on the test images" if of_best is not None else ""),
        f"{result.params:,} parameters, {result.flops:,} MACs; {result.seconds:.0f} s, "
        f"{result.images_per_second:,.0f} images/s",
    ]
    files = ("result.json", "metrics.csv", "curves.png", "student.safetensors")
    print_lines([*lines, *(f"  {shown(path / n)}" for n in files if (path / n).exists())])
