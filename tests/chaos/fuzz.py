"""Feeds damaged and made-up inputs to everything that reads: ``python tests/chaos/fuzz.py WORK``.

An input is allowed to be read, or to be refused with the project's own `UserError`; any other
exception, more than two seconds of CPU or 500 MB more of memory is a finding, kept in WORK and
printed once. ``--inputs N`` are spread over the kinds of `fuzz_readers` by their weights (a million
by default), ``--kinds A,B`` names some of them, ``--seed`` draws others. The exit code is 1 where
something was found.
"""

from __future__ import annotations

import argparse
import json
import resource
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from fuzz_mutations import Kind

from diswot.errors import UserError

SECONDS = 2.0
MEGABYTES = 500
ADDRESS_SPACE = 4 * 2**30  # beyond that of the start: what asks for more gets a MemoryError


@dataclass
class Tally:
    """What became of the inputs of a kind."""

    inputs: int = 0
    refused: int = 0
    notes: Counter[str] = field(default_factory=Counter)
    findings: dict[str, bytes] = field(default_factory=dict)
    found: int = 0
    slowest: float = 0.0
    megabytes: float = 0.0

    def note(self, what: str, data: bytes) -> None:
        """Keep the first input of everything that is found."""
        self.found += 1
        self.findings.setdefault(what, data)

    def __str__(self) -> str:
        read = self.inputs - self.refused - self.found - sum(self.notes.values())
        parts = [f"{self.inputs:,} inputs", f"{self.refused:,} refused", f"{read:,} read"]
        parts += [f"{count:,} {note}" for note, count in sorted(self.notes.items())]
        parts += [f"slowest {self.slowest:.2f} s", f"{self.megabytes:.0f} MB more"]
        return ", ".join([*parts, f"{self.found:,} findings of {len(self.findings)} sorts"])


class TooSlow(BaseException):
    """An input took more CPU than it may; no ``except Exception`` takes it."""


@contextmanager
def limited() -> Iterator[None]:
    """Interrupt what takes too much CPU, and refuse address space far beyond that of the start."""

    def interrupt(signum: int, frame: object) -> None:
        raise TooSlow

    used = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    soft = used * resource.getpagesize() + ADDRESS_SPACE
    handler = signal.signal(signal.SIGPROF, interrupt)
    resource.setrlimit(resource.RLIMIT_AS, (soft, before[1]))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, before)
        signal.signal(signal.SIGPROF, handler)


def resident() -> float:
    """MB at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def feed(kind: Kind, count: int, rng: Random) -> Tally:
    """Read the seeds, which must be taken, then ``count`` mutations of them."""
    tally = Tally()
    for seed in kind.seeds:
        try:
            kind.read(seed)
        except UserError as error:
            tally.note(f"a whole input is refused: {error}", seed)
    memory = resident()
    with limited(), warnings.catch_warnings(action="ignore"):
        for _ in range(count):
            data = kind.mutate(rng, rng.choice(kind.seeds))
            give(kind, data, tally)
            if (more := resident() - memory) > 0:
                tally.megabytes, memory = max(tally.megabytes, more), memory + more
                if more > MEGABYTES:
                    tally.note(f"{more:.0f} MB more", data)
    return tally


def give(kind: Kind, data: bytes, tally: Tally) -> None:
    """Read one input and count what became of it."""
    started = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    tally.inputs += 1
    try:
        if note := kind.read(data):
            tally.notes[note] += 1
    except UserError:
        tally.refused += 1
    except TooSlow as error:
        tally.note(f"too slow in {where(error)}", data)
    except Exception as error:
        tally.note(f"{type(error).__name__} in {where(error)}: {str(error)[:80]}", data)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    tally.slowest = max(tally.slowest, time.process_time() - started)


def where(error: BaseException) -> str:
    """The last place in the package, and the last of all."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/diswot/" in frame.filename] or frames
    places = dict.fromkeys(f"{Path(f.filename).name}:{f.lineno}" for f in (own[-1], frames[-1]))
    return " → ".join(places)


def main() -> int:
    """Fuzz, print, keep what was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--kinds", default="")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    from fuzz_readers import all_kinds

    given.work.mkdir(parents=True, exist_ok=True)
    memory = Path("/dev/shm")  # the inputs are files for a moment
    with TemporaryDirectory(prefix="fuzz-", dir=memory if memory.is_dir() else None) as folder:
        kinds = all_kinds(Path(folder))
        if wanted := given.kinds.split(",") if given.kinds else []:
            if unknown := {*wanted} - {kind.name for kind in kinds}:
                parser.error(f"no kinds of input: {', '.join(unknown)}")
            kinds = [kind for kind in kinds if kind.name in wanted]
        total, found = fuzz(kinds, given.inputs, given.seed, given.work)
    print(f"{total:,} inputs of {len(kinds)} kinds, seed {given.seed}: {found:,} findings")
    return int(found > 0)


def fuzz(kinds: Sequence[Kind], inputs: int, seed: int, work: Path) -> tuple[int, int]:
    """Feed all kinds, print what became of them, keep what was found; inputs and findings."""
    total, found, weights = 0, 0, sum(kind.weight for kind in kinds)
    for kind in kinds:
        started = time.perf_counter()
        count = max(1, round(inputs * kind.weight / weights))
        tally = feed(kind, count, Random(f"{seed} {kind.name}"))
        total, found = total + tally.inputs, found + tally.found
        print(f"{kind.name}: {tally} ({time.perf_counter() - started:.0f} s)", flush=True)
        for number, (what, data) in enumerate(tally.findings.items()):
            file = work / f"{kind.name.replace(' ', '_')}-{number}.input"
            file.write_bytes(data)
            print(f"  {what}\n    {file.name}: {json.dumps(repr(data[:120]))}", flush=True)
    return total, found


if __name__ == "__main__":
    sys.exit(main())
