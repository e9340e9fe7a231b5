"""The search loop: ask, score, journal, tell, save; and going on after a stop."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from diswot.errors import UserError
from diswot.history import History
from diswot.runs import CandidateRecord, SearchSummary
from diswot.strategies.base import Observation
from diswot.versions import versions

if TYPE_CHECKING:
    from diswot.proxies.base import Proxy
    from diswot.runs import RunDir
    from diswot.scoring.pool import Measure
    from diswot.scoring.scorer import Measurement
    from diswot.spaces.base import Arch
    from diswot.strategies.base import Strategy

__all__ = ["Progress", "Search", "Watch"]


class Progress(Protocol):
    """Called with every candidate, to show how the search goes."""

    def __call__(self, record: CandidateRecord, evaluated: int, best: float | None) -> None:
        """One more candidate is known."""
        ...


class Watch(Protocol):
    """Called with every generation, to log how the search goes."""

    def __call__(self, records: Sequence[CandidateRecord], fresh: int) -> None:
        """One more generation is known, ``fresh`` of its records since this start."""
        ...


@dataclass
class _Counters:
    """What a restart needs to know besides the strategy's state."""

    generation: int = 0
    seconds: float = 0.0


class Search:
    """One search in its run directory.

    State is saved only after whole generations, each of which is a pure function of what came
    before; journal lines beyond the saved state belong to the generation that is asked next and
    answer it without scoring. A last generation cut short by ``evaluations`` is journaled but
    not told, so that a search that is extended later goes on as if it had never stopped.

    Args:
        run_dir: Open and locked.
        strategy: Started.
        fitness: Name of the proxy that gives the fitness, and the proxy.
        others: Names and proxies that are recorded beside it.
    """

    def __init__(
        self,
        run_dir: RunDir[CandidateRecord],
        strategy: Strategy,
        fitness: tuple[str, Proxy],
        others: Sequence[tuple[str, Proxy]] = (),
    ) -> None:
        self._run_dir = run_dir
        self._strategy = strategy
        self._name, proxy = fitness
        self._others = dict(others)
        self.history = History(proxy, self._others)
        self._counters = _Counters()
        self._replay: deque[CandidateRecord] = deque()
        self._started = time.monotonic()
        self.exhausted = False
        """Whether the strategy has nothing left to ask."""
        self.begun_with: dict[str, str] = {}
        """Versions an earlier start of this run had and this one has not."""
        self._resumed = False
        self._resume()
        self._known_before = bool(self._replay) and not self._resumed

    @property
    def seconds(self) -> float:
        """Time spent searching, over all restarts up to what the last state had saved."""
        return self._counters.seconds + time.monotonic() - self._started

    @property
    def evaluated(self) -> int:
        """Proposals answered, repeats included."""
        return len(self.history.records)

    @property
    def journaled(self) -> int:
        """Proposals whose answer is in the journal already."""
        return self.evaluated + len(self._replay)

    def run(self, measure: Measure, progress: Progress, watch: Watch | None = None) -> None:
        """Search until the strategy's evaluations are used up, or it ends.

        Args:
            measure: Measures architectures, in order.
            progress: Called with every candidate.
            watch: Called with every generation that no earlier start has told of.

        Raises:
            UserError: No candidate could be scored, or the journal is of another search.
        """
        limit = self._strategy.evaluations
        while limit is None or self.evaluated < limit:
            before = None if self._resumed else self._state()
            asked = self._strategy.ask()
            if not asked:
                self.exhausted = True
                break
            self._run_dir.begin()
            if before is not None:
                self._run_dir.save_state(before)
                self._resumed = True
            scored = asked if limit is None else asked[: limit - self.evaluated]
            fresh = max(0, len(scored) - len(self._replay))
            records = self._scored(scored, measure, progress)
            whole = len(scored) == len(asked)
            if whole:
                self._tell(asked)
                self._save()
            else:
                self._run_dir.journal.sync()
            if watch is not None and (fresh or (whole and not self._known_before)):
                watch(records, fresh)
            if not whole:
                break
        self._check_any_scored()

    def _scored(
        self, archs: Sequence[Arch], measure: Measure, progress: Progress
    ) -> list[CandidateRecord]:
        best = max(self.history.scores().values(), default=None)
        records = []
        for record in self._answer(archs, measure):
            self.history.add(record)
            records.append(record)
            if record.score is not None:
                best = record.score if best is None else max(best, record.score)
            progress(record, self.evaluated, best)
        return records

    def _answer(self, archs: Sequence[Arch], measure: Measure) -> Iterator[CandidateRecord]:
        """Records in ask order: replayed, repeated, or measured and journaled."""
        texts = [str(arch) for arch in archs]
        replayed = [self._replay.popleft() for _ in texts if self._replay]
        for record, text in zip(replayed, texts, strict=False):
            if record.arch != text:
                raise UserError(
                    f"{self._run_dir.journal.path} holds {record.arch} where this search asks "
                    f"{text}: it was not written by this version with these settings; choose "
                    "another hydra.run.dir"
                )
            yield record
        rest = archs[len(replayed) :]
        fresh = [
            arch
            for position, arch in enumerate(rest)
            if self.history.known(str(arch)) is None and arch not in rest[:position]
        ]
        measurements = measure(fresh) if fresh else iter(())
        for arch in rest:
            known = self.history.known(str(arch))
            record = self._repeated(known) if known else self._record(next(measurements))
            self._run_dir.journal.append(record)
            yield record

    def _repeated(self, known: CandidateRecord) -> CandidateRecord:
        score = self.history.score(known.arch, known.parts) if known.status == "ok" else None
        generation = self._counters.generation
        return replace(known, cached=True, seconds=0.0, generation=generation, score=score)

    def _record(self, found: Measurement) -> CandidateRecord:
        parts = found.parts.get(self._name)
        others = {name: found.parts.get(name) for name in self._others}
        failures = [f"{name}: {why}" for name, why in found.failures.items()]
        cost = found.cost
        return CandidateRecord(
            arch=found.arch,
            score=None if parts is None else self.history.score(found.arch, parts),
            parts=parts or {},
            others=others,
            params=None if cost is None else cost.params,
            flops=None if cost is None else cost.flops,
            layers=None if cost is None else cost.layers,
            status="failed" if parts is None else "ok",
            reason="; ".join(failures) or None,
            generation=self._counters.generation,
            cached=False,
            seconds=round(found.seconds, 4),
        )

    def _tell(self, asked: Sequence[Arch]) -> None:
        scores = self.history.scores()
        if self.history.relative:
            parse = self._strategy.proposals.space.parse
            self._strategy.revise({parse(arch): score for arch, score in scores.items()})
        self._strategy.tell([Observation(arch, scores.get(str(arch))) for arch in asked])

    def _save(self) -> None:
        self._counters.generation += 1
        self._run_dir.save_state(self._state(self._run_dir.journal.sync()))

    def _state(self, journal_bytes: int = 0) -> dict[str, Any]:
        return {
            "schema": 1,
            "journal_bytes": journal_bytes,
            "generation": self._counters.generation,
            "seconds": round(self.seconds, 3),
            "versions": versions(),
            "strategy": self._strategy.state_dict(),
        }

    def _resume(self) -> None:
        journal = self._run_dir.journal.read()
        state = self._run_dir.load_state()
        told = 0
        self._resumed = state is not None
        if state is not None:
            told = self._told(journal, state)
            begun, here = state.get("versions", {}), versions()
            self.begun_with = {name: old for name, old in begun.items() if here.get(name) != old}
        else:  # lost: the time of the candidates is what is still known
            self._counters.seconds = sum(record.seconds for record, _ in journal)
        before = self._run_dir.load_result(SearchSummary)
        known = 0.0 if before is None else before.seconds
        self._counters.seconds = max(self._counters.seconds, known)
        for record, _ in journal[:told]:
            self.history.add(record)
        self._replay.extend(record for record, _ in journal[told:])

    def _told(self, journal: Sequence[tuple[CandidateRecord, int]], state: dict[str, Any]) -> int:
        path = self._run_dir.path / "state.json"
        again = "remove state.json and run the same command, which replays candidates.jsonl"
        try:
            length = state["journal_bytes"]
            ends = [0, *(end for _, end in journal)]
            if length not in ends:
                raise UserError(
                    f"{path} speaks of {length} bytes of candidates.jsonl, which has {ends[-1]}: "
                    f"lines are missing; {again}"
                )
            self._strategy.load_state_dict(state["strategy"])
            self._counters = _Counters(int(state["generation"]), float(state["seconds"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"{path} is damaged ({type(error).__name__}: {error}); {again}"
            ) from error
        return ends.index(length)

    def _check_any_scored(self) -> None:
        if not self.history.records:
            proposals = self._strategy.proposals
            raise UserError(
                f"budget: no architecture of space {proposals.space.name} keeps {proposals.budget}"
            )
        if not self.history.scores():
            first = self.history.records[0]
            raise UserError(
                f"none of {self.evaluated} candidates could be scored; the first, {first.arch}: "
                f"{first.reason} (debug=true shows where)"
            )
