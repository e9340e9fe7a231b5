"""Event files for TensorBoard."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diswot.errors import UserError
from diswot.loggers.base import Cell, Logger, Run

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["TensorBoard"]

_ROWS = 100  # of a table, which is shown as text


class TensorBoard(Logger):
    """Writes event files into ``tensorboard/`` of the run directory.

    Args:
        name: Of the logger.

    Raises:
        UserError: The package is not installed.
    """

    def __init__(self, name: str) -> None:
        if find_spec("tensorboard") is None:
            raise UserError(f"logger={name} needs a package: pip install diswot[tensorboard]")
        self.name = name
        self._step = 0

    def start(self, run: Run) -> str:
        """Begin another event file beside those of earlier starts."""
        from torch.utils.tensorboard import SummaryWriter

        from diswot.console import shown

        folder = run.path / "tensorboard"
        self._writer: SummaryWriter = SummaryWriter(str(folder))
        self._text("config", _json(run.config))
        self._text("tags", ", ".join(run.tags))
        self._writer.flush()
        return f"tensorboard --logdir {shown(folder)}"

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Add a scalar a metric."""
        self._step = step
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        """Add the first rows as text."""
        lines = [columns, ["---"] * len(columns), *rows[:_ROWS]]
        text = "\n".join(f"|{'|'.join(map(_cell, line))}|" for line in lines)
        more = f"\n\nand {len(rows) - _ROWS:,} more rows" if len(rows) > _ROWS else ""
        self._text(name, text + more)

    def image(self, name: str, path: Path) -> None:
        """Add the picture."""
        from PIL import Image

        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        self._writer.add_image(name, pixels, self._step, dataformats="HWC")

    def finish(self, summary: Mapping[str, Any], *, failed: bool) -> None:
        """Write what is left and close the file."""
        self._text("summary", _json({**summary, "failed": failed}))
        self._writer.close()

    def _text(self, name: str, text: str) -> None:
        self._writer.add_text(name, text, self._step)


def _cell(value: Cell) -> str:
    return "" if value is None else str(value).replace("|", "\\|")


def _json(value: Mapping[str, Any]) -> str:
    """Indented, as Markdown shows code."""
    return "\n".join(
        f"    {line}" for line in json.dumps(value, indent=2, default=str).splitlines()
    )
