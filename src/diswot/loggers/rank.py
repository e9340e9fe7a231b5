"""What a ranking logs: how far it is, and its table at the end."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diswot.loggers.base import Cell
    from diswot.loggers.several import Loggers
    from diswot.runs import RankRow, ScoreRecord

__all__ = ["RankLog"]

_POINTS = 100


class RankLog:
    """Follows a ranking.

    Args:
        loggers: Not started.
        total: Architectures to score, over all seeds.
        done: Those that were scored before this start.
        again: Whether the ranking has finished before; then nothing is logged unless it has grown.
    """

    def __init__(self, loggers: Loggers, total: int, done: int, *, again: bool) -> None:
        self._loggers = loggers
        self._total = total
        self._done = self._before = done
        self._silent = again and done == total
        self._failed = 0
        self._since = time.monotonic()

    def begin(self) -> None:
        """Start the loggers, if there is anything to tell them."""
        if not self._silent:
            self._loggers.start()
        self._since = time.monotonic()

    def scored(self, record: ScoreRecord) -> None:
        """One more is scored; a hundred times in all this is logged."""
        self._done += 1
        self._failed += bool(record.failures)
        if self._done % max(1, self._total // _POINTS) and self._done < self._total:
            return
        rate = (self._done - self._before) / max(time.monotonic() - self._since, 1e-9)
        self._loggers.log(
            {"seed": record.seed, "failed": self._failed, "architectures_per_second": rate},
            self._done,
        )

    def finish(self, rows: Sequence[RankRow], path: Path) -> None:
        """Give the loggers the table and the picture."""
        if self._silent or not self._loggers:
            return
        from diswot.runs import RankRow

        columns = [field.name for field in fields(RankRow)]
        table = [[_cell(value) for value in asdict(row).values()] for row in rows]
        summary: dict[str, Cell] = {}
        for row in reversed(rows):  # the best of a target comes first
            if not row.control:
                target = f"{row.dataset}_{row.target}"
                summary[f"best_{target}"] = row.proxy
                summary[f"best_{target}_spearman"] = _cell(row.spearman)
        self._loggers.finished(summary, [path / "rank.png"], {"rank": (columns, table)})


def _cell(value: Any) -> Cell:
    cell: Cell = value
    return None if isinstance(value, float) and math.isnan(value) else cell
