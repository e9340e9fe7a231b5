"""Followers of a search and of a ranking: they log what is known as it becomes known."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diswot.runs import read_table

if TYPE_CHECKING:
    from diswot.loggers import Loggers
    from diswot.runs import CandidateRecord, RankRow, ScoreRecord
    from diswot.searching.engine import Search
    from diswot.strategies import Strategy


_POINTS = 100  # of a ranking
_OF_FITNESS = ("best", "mean", "worst")  # of the proxy that a search follows, without its name


class SearchLog:
    """Logs every generation (an `OnGeneration` of the engine), and all candidates at the end.

    ``proxy`` is the name of the one that the search follows.
    """

    def __init__(self, loggers: Loggers, search: Search, strategy: Strategy, proxy: str) -> None:
        self._loggers, self._search, self._strategy = loggers, search, strategy
        self._proxy = proxy
        self._since = time.monotonic()

    def __call__(self, records: Sequence[CandidateRecord], fresh: int) -> None:
        """Log a generation, ``fresh`` of whose records were not there before this start."""
        now = time.monotonic()
        seconds, self._since = now - self._since, now
        if not self._loggers:
            return
        scores = self._search.history.scores()
        by_proxy: dict[str, float | None] = {}
        for name, known in {self._proxy: scores, **self._search.history.others()}.items():
            here = [known[record.arch] for record in records if record.arch in known]
            by_proxy[f"score/{name}/best"] = max(known.values(), default=None)
            by_proxy[f"score/{name}/mean"] = sum(here) / len(here) if here else None
            by_proxy[f"score/{name}/worst"] = min(here, default=None)
        self._loggers.log(
            {
                "generation": records[0].generation,
                **{key: by_proxy[f"score/{self._proxy}/{key}"] for key in _OF_FITNESS},
                **by_proxy,
                "failed": sum(record.status == "failed" for record in records),
                "rejected": self._strategy.proposals.rejected,
                "candidates_per_second": fresh / seconds if fresh and seconds else None,
            },
            self._search.evaluated,
        )

    def finish(self, result: Mapping[str, Any], path: Path) -> None:
        """Log the result, ``search.png`` and the distinct candidates, best first.

        Every proxy's score and the known accuracies of what was found are figures of their own.
        """
        if self._loggers:
            scores = {result["proxy"]: result["score"], **result["top"][0]["others"]}
            figures = {f"score/{name}/found": score for name, score in scores.items()}
            for each in (result["benchmark"] or {"standings": ()})["standings"]:
                figures[f"accuracy/{each['dataset']}_{each['target']}"] = each["accuracy"]
            self._loggers.log(figures, self._search.evaluated)
            candidates = read_table(path / "candidates.csv").drop_duplicates("arch")
            candidates = candidates.sort_values("score", ascending=False, kind="stable")
            self._loggers.finished(result, [path / "search.png"], {"candidates": candidates})


class RankLog:
    """Logs a hundred times how far a ranking is, and its table at the end.

    ``total`` architectures are to be scored, over all seeds, of which ``done`` were before this
    start. Of a ranking that has finished before (``again``) nothing is logged unless it has grown.
    """

    def __init__(self, loggers: Loggers, total: int, done: int, *, again: bool) -> None:
        self._loggers, self._total = loggers, total
        self._done = self._before = done
        self._silent = again and done == total
        if not self._silent:
            loggers.start()
        self._failed, self._since = 0, time.monotonic()

    def scored(self, record: ScoreRecord) -> None:
        """One more is scored."""
        self._done += 1
        self._failed += bool(record.failures)
        if self._done % max(1, self._total // _POINTS) and self._done < self._total:
            return
        rate = (self._done - self._before) / max(time.monotonic() - self._since, 1e-9)
        point = {"seed": record.seed, "failed": self._failed, "architectures_per_second": rate}
        self._loggers.log(point, self._done)

    def finish(self, rows: Sequence[RankRow], path: Path) -> None:
        """Log every proxy's Spearman, the best of each target, ``rank.png`` and ``rank.csv``."""
        if self._silent or not self._loggers:
            return
        best: dict[str, Any] = {}
        figures = {f"spearman/{r.dataset}_{r.target}/{r.proxy}": r.spearman for r in rows}
        self._loggers.log(figures, self._done)
        for row in reversed(rows):  # the best of a target comes first
            if not row.control and not math.isnan(row.spearman):
                name = f"best_{row.dataset}_{row.target}"
                best |= {name: row.proxy, f"{name}_spearman": row.spearman}
        self._loggers.finished(best, [path / "rank.png"], {"rank": read_table(path / "rank.csv")})
