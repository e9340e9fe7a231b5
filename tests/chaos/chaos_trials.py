"""Trials: a run is disturbed, the same command goes on, and what is left is compared."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from errno import EIO
from pathlib import Path
from random import Random

from chaos_faults import WRITING, Disk, Step
from chaos_runs import Ended, differing, left, prepared, run, words

_PATIENCE = 8  # kills of one run, after which it may finish


@dataclass
class Tally:
    """What was done to the runs of a command, and what went wrong."""

    command: str
    fault: str
    faults: int = 0
    finished: int = 0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        outcome = f"{self.finished} runs finished, " if self.finished else ""
        outcome += "; ".join(self.problems) if self.problems else "all equal"
        return f"{self.command}: {self.faults} {self.fault}, {outcome}"


class Runs:
    """The runs of one command in folders of their own below a root, and one undisturbed."""

    def __init__(self, name: str, root: Path) -> None:
        self.name, self.root = name, prepared(root)
        self.words = words(name, root)
        self._count = 0
        folder = root / name / "whole"
        self.ended = run(self.words, folder, around=Disk(folder).watched())
        assert self.ended.code == 0, self.ended
        self.steps = Disk.read_steps(folder)
        self.whole = left(folder)

    def fresh(self) -> Path:
        """A folder nobody has used."""
        self._count += 1
        return self.root / self.name / str(self._count)

    def finish(self, folder: Path, tally: Tally, what: str) -> None:
        """Give the command once more, and note where it leaves something else; else tidy up."""
        ended = run(self.words, folder)
        if ended.code:
            tally.problems.append(f"{what}: does not go on, code {ended.code}: {ended.err[-300:]}")
        self.compare(folder, tally, what)

    def compare(self, folder: Path, tally: Tally, what: str) -> None:
        """Note a problem where a finished run differs from the undisturbed one."""
        tally.finished += 1
        if others := differing(left(folder), self.whole):
            tally.problems.append(f"{what}: {', '.join(others)} differ in {folder}")
        else:
            shutil.rmtree(folder)


def killed_at_random(runs: Runs, count: int, rng: Random) -> Iterator[Tally]:
    """Kill runs at random times, and start each again until it has finished."""
    tally, seconds = Tally(runs.name, "random kills"), runs.ended.seconds
    while tally.faults < count:
        folder, kills, ended = runs.fresh(), 0, Ended(-9, "", "", 0.0)
        while ended.code == -9:
            after = rng.uniform(0.0, seconds) if kills < _PATIENCE else None
            ended = run(runs.words, folder, killed_after=after)
            kills += ended.code == -9
        tally.faults += kills
        seconds = min(seconds, ended.seconds) if not kills else seconds
        if ended.code:
            tally.problems.append(f"code {ended.code} after {kills} kills: {ended.err[-300:]}")
        runs.compare(folder, tally, f"after {kills} kills")
        yield tally


def places(steps: list[Step], calls: Callable[[Step], bool], each: int, rng: Random) -> list[int]:
    """Numbers of some steps of each call on each file, in any order."""
    chosen = list[int]()
    for step in filter(calls, dict.fromkeys(steps)):
        where = [number for number, other in enumerate(steps) if other == step]
        chosen += rng.sample(where, min(each, len(where)))
    return rng.sample(chosen, len(chosen))


def killed_in_place(runs: Runs, each: int, rng: Random) -> Iterator[Tally]:
    """Kill before every kind of call on every file, and in the middle of every kind of write."""
    tally = Tally(runs.name, "placed kills")
    before = [(at, False) for at in places(runs.steps, lambda _: True, each, rng)]
    within = places(runs.steps, lambda step: step.call == "write", each, rng)
    both = [*before, *((at, True) for at in within)]
    for at, half in rng.sample(both, len(both)):
        folder, what = runs.fresh(), f"{'in' if half else 'before'} {runs.steps[at]} ({at})"
        ended = run(runs.words, folder, around=Disk(folder, at, half=half).watched())
        if ended.code != -9:
            tally.problems.append(f"{what}: code {ended.code} instead of a kill")
        tally.faults += 1
        runs.finish(folder, tally, what)
        yield tally


def failed_in_place(
    runs: Runs, error: int, each: int, rng: Random, *, lasting: bool = False
) -> Iterator[Tally]:
    """Let every kind of call on every file fail; a message, nothing half-written, and on it goes.

    ``lasting``: all that need room fail from then on.
    """
    name = f"{os.strerror(error)}{' from then on' if lasting else ''}"
    tally = Tally(runs.name, f"calls failed ({name})")
    for at in places(runs.steps, lambda s: s.call in WRITING or error == EIO, each, rng):
        folder, what = runs.fresh(), f"{name}: {runs.steps[at]} ({at})"
        disk = Disk(folder, at, error, lasting=lasting)
        ended = run(runs.words, folder, around=disk.watched())
        tally.faults += 1
        tally.problems += [f"{what}: {problem}" for problem in refusal(ended, error, folder)]
        runs.finish(folder, tally, what)
        yield tally


def refusal(ended: Ended, error: int, folder: Path) -> Iterator[str]:
    """What is wrong with how a command ended that could not write."""
    said = [line for line in ended.err.splitlines() if line.startswith("diswot ")]
    if ended.code != 2:
        yield f"exit code {ended.code}"
    if len(said) != 1 or not re.search(rf"(run|cache)\b.*{os.strerror(error)}", said[0]):
        yield f"no single message but {ended.err[-300:]!r}"
    if "Traceback" in ended.err:
        yield f"a traceback {ended.err[-300:]!r}"
    if drafts := [file.name for file in folder.rglob(".*")]:
        yield f"{', '.join(drafts)} left"
