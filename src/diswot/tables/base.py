"""What a table is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Cell", "Table"]


@dataclass(frozen=True)
class Cell:
    """One figure of a table, ours beside the published one; None where there is none.

    Attributes:
        value: Measured, the mean over seeds.
        std: Its standard deviation over seeds (ddof 1).
        low: Lower limit of its 95 % interval over architectures.
        high: Upper limit.
        seeds: How many it is the mean of, 0 where nothing was measured.
        paper: Published.
        paper_std: Published beside it.
        source: Where the published one was read; empty without one.
        note: On the published one, or why there is none.
        unit: Of the published one.
        paper_text: The published one with its spread, in the digits it was published with.
    """

    value: float | None = None
    std: float | None = None
    low: float | None = None
    high: float | None = None
    seeds: int = 0
    paper: float | None = None
    paper_std: float | None = None
    source: str = ""
    note: str = ""
    unit: str = ""
    paper_text: str = ""


@dataclass(frozen=True)
class Table:
    """A table of a paper, measured anew.

    Attributes:
        name: Of its folder.
        title: One line.
        paper: What is compared with, and what of it could not be sourced.
        scale: What the measured figures were measured with.
        date: Of the newest result, as 2024-01-31; empty where nothing was measured.
        rows: Labels in order, measured ones first.
        columns: Likewise.
        cells: By row and column; a pair may be missing.
    """

    name: str
    title: str
    paper: str
    scale: str
    date: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: Mapping[tuple[str, str], Cell]
