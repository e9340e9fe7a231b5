"""Finds run directories and reads them as data, whatever state they are in."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diswot.errors import UserError
from diswot.runs.journal import Epoch, Record, Scored

__all__ = ["Run", "find_runs"]

_JOURNALS = {Record.file: "search", Epoch.file: "train", Scored.file: "rank"}
_MARKS = ("config.json", "result.json", "failure.json", "run.lock", *_JOURNALS)
_CACHE = "teacher_cache"  # what trainings share lies beside their runs
_LARGEST = 16 * 2**20  # bytes; no config or result comes near it
_NEEDED = {
    "search": ("space", "arch", "score", "params", "flops", "seed", "proxy", "strategy", "top"),
    "train": ("student", "distiller", "epochs", "test_top1", "params", "flops", "seed"),
    "rank": ("space", "teacher", "seeds", "n"),
}


@dataclass(frozen=True)
class Run:
    """One folder that is, or looks like, a run directory.

    Attributes:
        path: The folder.
        command: ``search``, ``train``, ``rank``, or empty where that cannot be told.
        state: ``finished``, ``running``, ``failed`` or ``stopped`` (``failure.json`` says why),
            ``unfinished`` (it was killed), ``shard`` (part of a ranking), ``damaged`` (a file of it
            cannot be read) or ``foreign`` (not written by this project).
        problem: Why it is not finished, or where it runs, in one line.
        config: Of ``config.json``; empty where there is none.
        result: Of ``result.json``; empty unless finished.
    """

    path: Path
    command: str
    state: str
    problem: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    result: Mapping[str, Any] = field(default_factory=dict)


class _DamagedError(Exception):
    """A file cannot be read as what it should be."""


def find_runs(paths: Sequence[Path]) -> list[Run]:
    """The runs in folders, in all depths, in order of their paths.

    Args:
        paths: Run directories, or folders above them.

    Raises:
        UserError: One of the paths is no folder.
    """
    folders: dict[Path, None] = {}
    for path in paths:
        if not path.is_dir():
            raise UserError(f"{path} is no folder; give run directories, or folders above them")
        folders |= dict.fromkeys(_candidates(path))
    return [_read(folder) for folder in sorted(folders)]


def _candidates(root: Path) -> Iterator[Path]:
    """Folders that look like runs, and those right below ``root`` in which there is none."""
    found = list(_marked(root))
    yield from found
    if root not in found:
        for child in root.iterdir():
            hidden = child.name.startswith(".") or child.is_symlink() or not child.is_dir()
            hidden = hidden or child.name == _CACHE
            if not hidden and not any(folder.is_relative_to(child) for folder in found):
                yield child


def _marked(root: Path) -> Iterator[Path]:
    """Folders with a file that a run leaves; links to folders are not followed."""
    for folder, below, files in os.walk(root):
        below[:] = [name for name in below if not name.startswith(".")]
        if set(_MARKS) & set(files):
            yield Path(folder)


def _read(folder: Path) -> Run:
    command = ""
    config: dict[str, Any] = {}
    try:
        config = _json(folder / "config.json")
        result = _json(folder / "result.json")
        failure = _json(folder / "failure.json")
    except _DamagedError as damage:
        return Run(folder, _command(folder, config, {}), "damaged", str(damage), config)
    command = _command(folder, config, result)
    if not command and (owner := _running(folder / "run.lock")):
        return Run(folder, "", "running", f"{owner}; nothing is kept yet")
    if not command:
        problem = "no config, result or journal of a search, ranking or training"
        return Run(folder, "", "foreign", problem, config)
    if result:
        lacking = [key for key in _NEEDED[command] if key not in result]
        if lacking:
            problem = f"result.json lacks {', '.join(lacking)}"
            return Run(folder, command, "damaged", problem, config)
        return Run(folder, command, "finished", None, config, result)
    state, why = _open(folder, config, failure)
    return Run(folder, command, state, why, config)


def _open(
    folder: Path, config: Mapping[str, Any], failure: Mapping[str, Any]
) -> tuple[str, str | None]:
    """State and problem of a run without a result."""
    if owner := _running(folder / "run.lock"):
        return "running", owner
    if failure:
        return "stopped" if failure.get("stopped") else "failed", str(failure.get("error"))
    if not config:
        return "damaged", "config.json is missing"
    if config.get("shard") is not None:
        return "shard", f"part {config['shard']} of a ranking; diswot rank merge=FOLDER unites them"
    return "unfinished", "it ended without a word; the same command goes on from there"


def _command(folder: Path, config: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    """Told by what only one command writes."""
    for known in (config, result):
        for key, command in (("trainer", "train"), ("strategy", "search"), ("seeds", "rank")):
            if key in known:
                return command
    return next((name for file, name in _JOURNALS.items() if (folder / file).exists()), "")


def _json(path: Path) -> dict[str, Any]:
    """A JSON object, empty where there is no such file."""
    try:
        if not path.is_file():
            return {}
        if path.stat().st_size > _LARGEST:
            raise _DamagedError(f"{path.name} is larger than {_LARGEST // 2**20} MB")
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise _DamagedError(f"{path.name} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise _DamagedError(f"{path.name} is no JSON object")
    return value


def _running(lock: Path) -> str | None:
    """Where the process runs that took the lock; the lock is not tried, which could disturb one."""
    try:
        owner = _json(lock)
        host, pid = str(owner["host"])[:64], int(owner["pid"])
        if host != socket.gethostname():
            return f"process {pid} on {host}, if it still lives"
        os.kill(pid, 0)
    except PermissionError:  # it lives, as another user's
        pass
    except (_DamagedError, OSError, ValueError, KeyError, TypeError, OverflowError):
        return None
    return f"process {pid} on {host}" if pid > 0 else None
