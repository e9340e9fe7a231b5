"""What the sources of NAS-Bench-201's accuracies share."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

__all__ = ["CELLS", "REPORTED", "Table", "is_cell"]

CELLS = 5**6
REPORTED = ("cifar10", "cifar100", "imagenet16-120")

_OPERATION = "(?:none|skip_connect|nor_conv_1x1|nor_conv_3x3|avg_pool_3x3)"
_CELL = re.compile(
    r"\+".join(
        r"\|" + "".join(rf"{_OPERATION}~{start}\|" for start in range(node)) for node in (1, 2, 3)
    )
)


def is_cell(text: object) -> bool:
    """Whether ``text`` is a cell in NAS-Bench-201's notation."""
    return isinstance(text, str) and _CELL.fullmatch(text) is not None


class Table(ABC):
    """Accuracies of NAS-Bench-201's cells from one source, read on first use.

    Args:
        path: Where they are; None for the source's own place.

    Raises:
        UserError: There is nothing to read from.
    """

    datasets: ClassVar[tuple[str, ...]]
    """Every data set it has figures of."""

    reported: ClassVar[tuple[str, ...]] = REPORTED
    """Those that a benchmark reports unless others are chosen."""

    @abstractmethod
    def __init__(self, path: Path | None) -> None: ...

    @property
    @abstractmethod
    def source(self) -> str:
        """What the figures are read from, for people."""

    @abstractmethod
    def archs(self) -> Sequence[str]:
        """All cells, in a fixed order."""

    @abstractmethod
    def accuracy(self, cell: str, dataset: str) -> float:
        """Top-1 in percent of one of `archs` on one of ``datasets``.

        Raises:
            UserError: The source is damaged or lacks this figure.
        """
