"""What a search logs: each generation as it is known, all candidates at the end."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diswot.loggers.base import Cell
    from diswot.loggers.several import Loggers
    from diswot.runs import CandidateRecord
    from diswot.searching.engine import Search
    from diswot.searching.history import History
    from diswot.strategies.base import Strategy

__all__ = ["SearchLog"]

_COLUMNS = ("params", "flops", "layers", "status", "generation")


class SearchLog:
    """Follows a search, see `diswot.searching.engine.OnGeneration`.

    Args:
        loggers: Started.
        search: Whose history is read.
        strategy: Its, for the draws that broke the budget.
    """

    def __init__(self, loggers: Loggers, search: Search, strategy: Strategy) -> None:
        self._loggers = loggers
        self._search = search
        self._strategy = strategy
        self._since = time.monotonic()

    def __call__(self, records: Sequence[CandidateRecord], fresh: int) -> None:
        """One more generation is known.

        Args:
            records: All of it.
            fresh: How many were not there before this start.
        """
        now = time.monotonic()
        seconds, self._since = now - self._since, now
        if not self._loggers:
            return
        scores = self._search.history.scores()
        here = [scores[record.arch] for record in records if record.arch in scores]
        self._loggers.log(
            {
                "generation": records[0].generation,
                "best": max(scores.values(), default=None),
                "mean": sum(here) / len(here) if here else None,
                "worst": min(here, default=None),
                "failed": sum(record.status == "failed" for record in records),
                "rejected": self._strategy.proposals.rejected,
                "candidates_per_second": fresh / seconds if fresh and seconds else None,
            },
            self._search.evaluated,
        )

    def finish(self, result: Mapping[str, Any], path: Path) -> None:
        """Give the loggers the result, the picture and all candidates."""
        if self._loggers:
            candidates = _table(self._search.history)
            self._loggers.finished(result, [path / "search.png"], {"candidates": candidates})


def _table(history: History) -> tuple[list[str], list[list[Cell]]]:
    """All distinct candidates, best first, those that could not be scored last."""
    others, scores = history.others(), dict(history.scores())
    ranking = [record for record, _ in history.ranking()]
    failed = [history.known(arch) for arch in dict.fromkeys(r.arch for r in history.records)]
    rows = [*ranking, *(r for r in failed if r is not None and r.arch not in scores)]
    parts = list(rows[0].parts)
    columns = ["arch", "score", *(f"part_{n}" for n in parts), *(f"score_{n}" for n in others)]
    table: list[list[Cell]] = [
        [
            *(record.arch, scores.get(record.arch)),
            *(record.parts.get(part) for part in parts),
            *(values.get(record.arch) for values in others.values()),
            *(getattr(record, column) for column in _COLUMNS),
        ]
        for record in rows
    ]
    return [*columns, *_COLUMNS], table
