"""Curves of a training: losses, accuracy and learning rate over the epochs; curves.png."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diswot.runs.files import write_atomic

if TYPE_CHECKING:
    from diswot.runs import EpochRecord

__all__ = ["LOSSES", "plot_curves", "plot_losses", "plot_rate", "plot_top1"]

LOSSES = 16
"""Drawn of one run; the total is always among them."""

_MARKED = 30  # epochs; of more, single points are not marked

Runs = Mapping[str, Sequence["EpochRecord"]]
"""Epochs in order, at least one a run; names are shown where there are several."""


def plot_curves(path: Path, epochs: Sequence[EpochRecord], title: str, validated_on: str) -> None:
    """Write losses, accuracy on ``validation`` or ``test`` images and learning rate as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4), layout="constrained")
    figure.suptitle(title, fontsize=11)
    losses, accuracy, rate = figure.subplots(1, 3)
    plot_losses(losses, {"": epochs})
    plot_top1(accuracy, {"": epochs}, validated_on)
    plot_rate(rate, {"": epochs})
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120)
    write_atomic(path, image.getvalue())


def plot_losses(axes: Any, runs: Runs) -> None:
    """Losses over the epochs, each as a share of its first value; of several runs the total."""
    for name, epochs in runs.items():
        known = sorted(epochs[0].losses, key=lambda each: each != "loss")
        for loss in known[:LOSSES] if len(runs) == 1 else {"loss"} & {*known}:
            first = epochs[0].losses[loss]
            shares = [epoch.losses.get(loss, 0.0) / first if first else 1.0 for epoch in epochs]
            style = "-" if loss == "loss" else "--"
            label = f"{loss if len(runs) == 1 else name} (1 = {first:.3g})"
            _plot(axes, epochs, shares, linestyle=style, label=label)
    axes.set(ylabel="training losses, first epoch = 1")
    _finish(axes, runs)
    if axes.lines:
        axes.legend(framealpha=0.6)


def plot_top1(axes: Any, runs: Runs, validated_on: str) -> None:
    """Accuracy over the epochs, the best of each run marked."""
    for index, (name, epochs) in enumerate(runs.items()):
        color = f"C{index % 10}" if len(runs) > 1 else "C3"
        top1 = [epoch.val_top1 for epoch in epochs]
        _plot(axes, epochs, top1, color=color)
        best = max(epochs, key=lambda epoch: epoch.val_top1)
        label = f"{name} best {best.val_top1:.2f} %".strip()
        place = best.epoch + 1, best.val_top1
        axes.scatter(*place, marker="*", s=140, color=color, label=label)
    axes.set(ylabel=f"top-1 on the {validated_on} images (%)")
    _finish(axes, runs)
    axes.legend(framealpha=0.6, loc="lower right")


def plot_rate(axes: Any, runs: Runs) -> None:
    """Learning rate over the epochs of the longest run."""
    epochs = max(runs.values(), key=len)
    _plot(axes, epochs, [epoch.lr for epoch in epochs], color="C2")
    axes.set(ylabel="learning rate at the end of the epoch")
    _finish(axes, runs)


def _plot(axes: Any, epochs: Sequence[EpochRecord], values: Sequence[float], **line: str) -> None:
    marker = "o" if len(epochs) < _MARKED else None
    axes.plot([epoch.epoch + 1 for epoch in epochs], values, marker=marker, ms=3, **line)


def _finish(axes: Any, runs: Runs) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set(xlabel="epoch", xlim=(0.5, max(map(len, runs.values())) + 0.5))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)
