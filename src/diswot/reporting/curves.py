"""The picture a finished training leaves: curves.png."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from diswot.storage.files import write_atomic

if TYPE_CHECKING:
    from diswot.storage import Epoch

__all__ = ["plot_curves"]


def plot_curves(path: Path, epochs: Sequence[Epoch], title: str, validated_on: str) -> None:
    """Losses, each as a share of its first value, accuracy and learning rate over the epochs."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(13, 4), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=11)
    losses, accuracy, rate = figure.subplots(1, 3)
    numbers = [epoch.epoch + 1 for epoch in epochs]
    marker = "o" if len(epochs) < 30 else None
    for name, first in epochs[0].losses.items():
        shares = [epoch.losses[name] / first if first else 1.0 for epoch in epochs]
        style = "-" if name == "loss" else "--"
        losses.plot(numbers, shares, style, marker=marker, ms=3, label=f"{name} (1 = {first:.3g})")
    losses.set(ylabel="training losses, first epoch = 1")
    losses.legend(framealpha=0.6)
    top1 = [epoch.val_top1 for epoch in epochs]
    accuracy.plot(numbers, top1, marker=marker, ms=3, color="C3")
    best = max(range(len(top1)), key=top1.__getitem__)
    accuracy.scatter(
        [numbers[best]],
        [top1[best]],
        marker="*",
        s=140,
        color="C3",
        label=f"best {top1[best]:.2f} %",
    )
    accuracy.set(ylabel=f"top-1 on the {validated_on} images (%)")
    accuracy.legend(framealpha=0.6, loc="lower right")
    rate.plot(numbers, [epoch.lr for epoch in epochs], marker=marker, ms=3, color="C2")
    rate.set(ylabel="learning rate at the end of the epoch")
    for axes in (losses, accuracy, rate):
        axes.set(xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlim(0.5, len(epochs) + 0.5)
        axes.grid(alpha=0.3)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120)
    write_atomic(path, image.getvalue())
