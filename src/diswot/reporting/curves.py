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


def plot_curves(path: Path, epochs: Sequence[EpochRecord], title: str, validated_on: str) -> None:
    """Write losses, each as a share of its first value, accuracy and learning rate as a PNG.

    Args:
        path: The file.
        epochs: In order, at least one.
        title: Above the plots.
        validated_on: Which images gave the accuracy: ``validation`` or ``test``.
    """
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


def plot_losses(axes: Any, runs: Mapping[str, Sequence[EpochRecord]]) -> None:
    """Losses over the epochs, each as a share of its first value; of several runs the total.

    Args:
        axes: Of matplotlib.
        runs: Epochs in order, at least one a run; names are shown where there are several.
    """
    for name, epochs in runs.items():
        known = sorted(epochs[0].losses, key=lambda each: each != "loss")
        for loss in known[:LOSSES] if len(runs) == 1 else {"loss"} & {*known}:
            first = epochs[0].losses[loss]
            shares = [epoch.losses.get(loss, 0.0) / first if first else 1.0 for epoch in epochs]
            style = "-" if loss == "loss" else "--"
            label = f"{loss if len(runs) == 1 else name} (1 = {first:.3g})"
            axes.plot(_numbers(epochs), shares, style, marker=_marker(epochs), ms=3, label=label)
    axes.set(ylabel="training losses, first epoch = 1")
    _finish(axes, runs)
    if axes.lines:
        axes.legend(framealpha=0.6)


def plot_top1(axes: Any, runs: Mapping[str, Sequence[EpochRecord]], validated_on: str) -> None:
    """Accuracy over the epochs, the best of each run marked.

    Args:
        axes: Of matplotlib.
        runs: As in `plot_losses`.
        validated_on: As in `plot_curves`.
    """
    for index, (name, epochs) in enumerate(runs.items()):
        color = f"C{index % 10}" if len(runs) > 1 else "C3"
        top1 = [epoch.val_top1 for epoch in epochs]
        axes.plot(_numbers(epochs), top1, marker=_marker(epochs), ms=3, color=color)
        best = max(range(len(top1)), key=lambda epoch: top1[epoch])
        label = f"{name} best {top1[best]:.2f} %".strip()
        axes.scatter(
            epochs[best].epoch + 1, top1[best], marker="*", s=140, color=color, label=label
        )
    axes.set(ylabel=f"top-1 on the {validated_on} images (%)")
    _finish(axes, runs)
    axes.legend(framealpha=0.6, loc="lower right")


def plot_rate(axes: Any, runs: Mapping[str, Sequence[EpochRecord]]) -> None:
    """Learning rate over the epochs.

    Args:
        axes: Of matplotlib.
        runs: As in `plot_losses`; the longest is drawn.
    """
    epochs = max(runs.values(), key=len)
    rates = [epoch.lr for epoch in epochs]
    axes.plot(_numbers(epochs), rates, marker=_marker(epochs), ms=3, color="C2")
    axes.set(ylabel="learning rate at the end of the epoch")
    _finish(axes, runs)


def _numbers(epochs: Sequence[EpochRecord]) -> list[int]:
    return [epoch.epoch + 1 for epoch in epochs]


def _marker(epochs: Sequence[EpochRecord]) -> str | None:
    return "o" if len(epochs) < _MARKED else None


def _finish(axes: Any, runs: Mapping[str, Sequence[EpochRecord]]) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set(xlabel="epoch", xlim=(0.5, max(map(len, runs.values())) + 0.5))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)
