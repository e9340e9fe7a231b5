"""Shards of one ranking, scored apart, and their union."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from diswot.config import check_harmless, difference
from diswot.errors import UserError
from diswot.runs import Journal, ScoreRecord
from diswot.runs.files import read_json
from diswot.runs.run_dir import RunLock

__all__ = ["Shard", "union"]

T = TypeVar("T")

_KEYS = ("benchmark", "data", "init", "num_classes", "proxy", "seed", "seeds", "space", "teacher")
"""Keys that every config of a ranking holds."""


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

    A config is data and may name no classes and functions but ``targets``.

    Raises:
        UserError: Shards are missing, twice there, of different runs, or name what they may not.
    """
    runs = dict(_runs(folder))
    if not runs:
        raise UserError(
            f"merge={folder}: no folder in it holds a shard, a run of diswot rank with shard=i/n; "
            "give the folder that holds the shards' folders"
        )
    (first, config), *others = runs.items()
    for path, other in others:
        changed = difference({**config, "shard": None}, {**other, "shard": None})
        if config["seeds"] != other["seeds"]:  # they may grow, but not apart
            changed.append(("seeds", config["seeds"], other["seeds"]))
        if changed:
            shown = "; ".join(f"{key}: {old} and {new}" for key, old, new in changed[:6])
            raise UserError(
                f"merge={first.parent}: {first.name} and {path.name} are shards of different runs "
                f"({shown}); keep the shards of one run in one folder"
            )
    _check_complete(folder, [Shard.parse(config["shard"]) for config in runs.values()])
    check_harmless(config, targets, f"merge={folder}: config.json of {first.name}")
    return {**config, "shard": None}, [record for path in runs for record in _records(path)]


def _runs(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    if not folder.is_dir():
        problem = "is no folder" if folder.exists() else "does not exist"
        raise UserError(f"merge={folder} {problem}; give the folder that holds the shards' folders")
    files = (*folder.glob("*/config.json"), *folder.glob("*/*/config.json"))  # of a run, a sweep
    for path in sorted(file.parent for file in files):
        if not (path / ScoreRecord.file).is_file():
            continue
        config = read_json(path / "config.json", "leave this run out of the folder")
        if config.get("shard") is None:
            continue
        if missing := [key for key in _KEYS if key not in config]:
            raise UserError(
                f"merge={folder}: config.json of {path.name} is damaged (it lacks "
                f"{', '.join(missing)}); leave this run out of the folder"
            )
        yield path, config


def _records(path: Path) -> list[ScoreRecord]:
    lock = RunLock(path / "run.lock")  # reading cuts off the half line of a process at work
    try:
        lock.acquire()
    except UserError as error:
        raise UserError(f"merge={path.parent}: a shard is not finished: {error}") from None
    try:
        return [record for record, _ in Journal(path / ScoreRecord.file, ScoreRecord).read()]
    finally:
        lock.release()


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
