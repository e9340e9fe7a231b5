"""Run directories in any state, found below folders and read as data."""

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from diswot.errors import UnreadableError, UserError
from diswot.runs.files import read_json
from diswot.runs.races import RaceRecord, RaceSummary
from diswot.runs.rankings import RankSummary
from diswot.runs.records import (
    CandidateRecord,
    EpochRecord,
    ProbeRecord,
    ProbeSummary,
    ScoreRecord,
    SearchSummary,
    Summary,
    TrainSummary,
)
from diswot.runs.syntheses import SynthesisRecord, SynthesisSummary

S = TypeVar("S", bound=Summary)

_JOURNALS = {CandidateRecord.file: "search", EpochRecord.file: "train", ScoreRecord.file: "rank"}
_JOURNALS |= {RaceRecord.file: "race", ProbeRecord.file: "probe"}
_JOURNALS |= {SynthesisRecord.file: "synthesize"}
_MARKS = {"config.json", "result.json", "failure.json", "run.lock", *_JOURNALS}
_SUMMARIES: dict[str, type[Summary]] = {
    **{"search": SearchSummary, "train": TrainSummary, "rank": RankSummary, "race": RaceSummary},
    **{"probe": ProbeSummary, "synthesize": SynthesisSummary},
}
_TRAINS = dict.fromkeys(("protocol", "trainer", "distiller"), "train")
_COMMANDS = {"strategy": "search", "rungs": "race", **_TRAINS, "seeds": "rank", "l2": "probe"}
_COMMANDS |= {"statistics": "synthesize"}
"""Keys of a config or a result that tell which command wrote it, the first that is there."""

_CACHE = "teacher_cache"  # shared by trainings, beside their runs


@dataclass(frozen=True)
class Run:
    """One folder that is, or looks like, a run directory.

    Attributes:
        path: The folder.
        command: ``search``, ``train``, ``race``, ``rank``, ``probe`` or ``synthesize``; empty where
            that cannot be told.
        state: ``finished``, ``running``, ``failed`` or ``stopped`` (``failure.json`` says why),
            ``unfinished`` (it was killed), ``shard`` (part of a ranking), ``damaged`` (a file of it
            cannot be read) or ``foreign`` (not written by this project).
        problem: Why it is not finished, or where it runs, in one line.
        config: Of ``config.json``; empty where there is none.
        summary: Of ``result.json``; None unless finished.
    """

    path: Path
    command: str
    state: str
    problem: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    summary: Summary | None = None

    @property
    def result(self) -> dict[str, Any]:
        """The summary as plain values; empty unless finished."""
        return {} if self.summary is None else asdict(self.summary)


def read_summary(file: Path, kind: type[S], remedy: str = "") -> S:
    """Read an existing ``result.json`` that is to hold this kind of summary.

    If it is damaged, of another command or of a newer version, an `UnreadableError` ends with the
    remedy.
    """
    content = read_json(file, remedy)
    if kind is TrainSummary and "protocol" not in content:
        content["protocol"] = content.get("trainer", "")  # as it was called before
    try:
        summary = msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        raise UnreadableError(file, error, remedy=remedy) from error
    if summary.schema != 1:
        raise UnreadableError(file, f"schema {summary.schema} is not known", remedy=remedy)
    return summary


def find_runs(paths: Sequence[Path]) -> list[Run]:
    """The runs in folders, in all depths, by path; UserError where one of the paths is none.

    Not the trainings that belong to a race, unless their own folder is given.
    """
    if missing := [path for path in paths if not path.is_dir()]:
        raise UserError(f"{missing[0]} is no folder; give run directories, or folders above them")
    return [_read(folder) for folder in sorted({f for path in paths for f in _candidates(path)})]


def _candidates(root: Path) -> Iterator[Path]:
    """Folders that look like runs, and those right below ``root`` in which there is none."""
    marked = []
    for folder, below, files in os.walk(root):  # links to folders are not followed
        own = {"trainings"} if RaceRecord.file in files else ()
        below[:] = [name for name in below if not name.startswith(".") and name not in own]
        if _MARKS & set(files):
            marked.append(Path(folder))
    yield from marked
    if root not in marked:
        for child in root.iterdir():
            hidden = child.name.startswith(".") or child.name == _CACHE or child.is_symlink()
            if not hidden and child.is_dir() and not any(m.is_relative_to(child) for m in marked):
                yield child


def _read(folder: Path) -> Run:
    config: dict[str, Any] = {}
    try:
        config = _json(folder / "config.json")
        result = _json(folder / "result.json")
        failure = _json(folder / "failure.json")
        command = _command(folder, config, result)
        if command and result:
            summary = read_summary(folder / "result.json", _SUMMARIES[command])
            return Run(folder, command, "finished", None, config, summary)
    except UnreadableError as error:
        problem = f"{error.file.name} cannot be read: {error.problem}"
        return Run(folder, _command(folder, config, {}), "damaged", problem, config)
    return Run(folder, command, *_open(folder, command, config, failure), config)


def _open(
    folder: Path, command: str, config: Mapping[str, Any], failure: Mapping[str, Any]
) -> tuple[str, str]:
    """State and problem of a run without a result."""
    if owner := _running(folder / "run.lock"):
        return "running", owner if command else f"{owner}; nothing is kept yet"
    if not command:
        return "foreign", "no config, result or journal of a search, race, training or ranking"
    if failure:
        return "stopped" if failure.get("stopped") else "failed", str(failure.get("error"))
    if not config:
        return "damaged", "config.json is missing"
    if config.get("shard") is not None:
        return "shard", f"part {config['shard']} of a ranking; diswot rank merge=FOLDER unites them"
    return "unfinished", "killed before it could say why; the same command goes on from there"


def _command(folder: Path, config: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    """By the config, else by the result, else by the journal."""
    keys = [key for content in (config, result) for key in _COMMANDS if key in content]
    files = (command for file, command in _JOURNALS.items() if (folder / file).exists())
    return _COMMANDS[keys[0]] if keys else next(files, "")


def _json(file: Path) -> dict[str, Any]:
    """A JSON object, empty where there is no such file."""
    try:
        return read_json(file) if file.is_file() else {}
    except OSError as error:
        raise UnreadableError(file, error.strerror) from error


def _running(lock: Path) -> str | None:
    """The process that took the lock; the lock is not tried, which could disturb one."""
    try:
        owner = _json(lock)
        host, pid = str(owner["host"])[:64], int(owner["pid"])
        if host != socket.gethostname():
            return f"process {pid} on {host}, if it still lives"
        os.kill(pid, 0)
    except PermissionError:  # it lives, as another user's
        pass
    except (UnreadableError, OSError, ValueError, KeyError, TypeError, OverflowError):
        return None
    return f"process {pid} on {host}" if pid > 0 else None
