"""Shards of one ranking, scored apart, and their union."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from diswot import checks
from diswot.config import check_harmless, difference
from diswot.errors import UserError
from diswot.runs import Journal, ScoreRecord, find_runs

T = TypeVar("T")


@dataclass(frozen=True)
class Shard:
    """Every ``count``-th architecture, from that with number ``index`` on, from 1."""

    index: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: object) -> Shard:
        """Read ``i/n`` with i from 1 to n, all else raises `UserError`; None is the whole."""
        if text is None:
            return cls()
        match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", str(text))
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise UserError(f"shard={text} is not allowed; give i/n with i from 1 to n, as 1/4")
        return cls(int(match[1]), int(match[2]))

    def take(self, items: Sequence[T]) -> Sequence[T]:
        """Its part of ``items``; may be empty."""
        return items[self.index - 1 :: self.count]

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def union(folder: Path, targets: Collection[str]) -> tuple[dict[str, Any], list[ScoreRecord]]:
    """The config that the shards in a folder share, and all their records.

    A config is data and may name no classes and functions but ``targets``. A UserError says which
    shards are missing, twice there, damaged, of different runs, or name what they may not.
    """
    checks.folder("merge", folder, "the folder that holds the shards' folders")
    runs = [run for run in find_runs([folder]) if run.command == "rank" and run.path != folder]
    if damaged := [run for run in runs if run.state == "damaged"]:
        raise UserError(
            f"merge={folder}: {damaged[0].path}: {damaged[0].problem}; leave it out of the folder"
        )
    shards = [run for run in runs if run.config.get("shard") is not None]
    if not shards:
        raise UserError(
            f"merge={folder}: no folder in it holds a shard, a run of diswot rank with shard=i/n; "
            "give the folder that holds the shards' folders"
        )
    first, *others = shards
    config = {**first.config, "shard": None}
    for other in others:
        changed = difference(config, {**other.config, "shard": None})
        if config["seeds"] != other.config["seeds"]:  # they may grow, but not apart
            changed.append(("seeds", config["seeds"], other.config["seeds"]))
        if changed:
            shown = "; ".join(f"{key}: {old} and {new}" for key, old, new in changed[:6])
            raise UserError(
                f"merge={folder}: {first.path.name} and {other.path.name} are shards of different "
                f"runs ({shown}); keep the shards of one run in one folder"
            )
    _check_complete(folder, [Shard.parse(run.config["shard"]) for run in shards])
    check_harmless(config, targets, f"merge={folder}: config.json of {first.path.name}")
    journals = [Journal(run.path / ScoreRecord.file, ScoreRecord) for run in shards]
    return config, [record for journal in journals for record in journal.peek()]


def _check_complete(folder: Path, shards: Sequence[Shard]) -> None:
    counts = sorted({shard.count for shard in shards})
    if len(counts) > 1:
        raise UserError(
            f"merge={folder}: shards of {' and of '.join(map(str, counts))}, such as "
            f"{' and '.join(sorted(map(str, shards)))}; keep the shards of one run in one folder"
        )
    times = Counter(shards)
    wanted = [Shard(index, counts[0]) for index in range(1, counts[0] + 1)]
    if missing := ", ".join(str(shard) for shard in wanted if not times[shard]):
        raise UserError(f"merge={folder}: shard {missing} is missing; run it, then merge again")
    if twice := ", ".join(str(shard) for shard in wanted if times[shard] > 1):
        raise UserError(f"merge={folder}: shard {twice} is there more than once; leave one of each")
