"""The search loop: ask, score, journal, tell, save, resume."""

from __future__ import annotations

import math
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from diswot.errors import UserError
from diswot.runs import CandidateRecord, SearchSummary
from diswot.searching.history import History
from diswot.strategies import Observation
from diswot.versions import versions

if TYPE_CHECKING:
    from diswot.proxies.base import Proxy
    from diswot.runs import RunDir
    from diswot.scoring.pool import Measure
    from diswot.scoring.scorer import Measurement
    from diswot.searching.screening import Screen
    from diswot.spaces.base import Arch
    from diswot.strategies import Strategy


OnCandidate = Callable[[CandidateRecord, int, str | float | None], object]
"""Called with one more candidate, the number of candidates so far and the best score.

In place of a score that is relative to other candidates the architecture that has it is given.
"""

OnGeneration = Callable[[Sequence[CandidateRecord], int], object]
"""Called with one more generation, and how many of its records were not there at the start."""


class Search:
    """One search in its run directory.

    State is saved only after whole generations, each of which is a pure function of what came
    before; journal lines beyond the saved state belong to the generation that is asked next and
    answer it without scoring. A last generation cut short by ``evaluations`` is journaled but
    not told, so that a search that is extended later goes on as if it had never stopped.

    The run directory is open and locked, the strategy started. ``fitness`` is the name of the proxy
    that gives the fitness, and the proxy; ``others`` are recorded beside it. What the ``screen``
    drops of a whole generation is recorded and not scored. The search is ``exhausted`` when the
    strategy has nothing left to ask.

    Raises:
        UserError: What an earlier start left is damaged.
    """

    def __init__(
        self,
        run_dir: RunDir[CandidateRecord],
        strategy: Strategy,
        fitness: tuple[str, Proxy],
        others: Sequence[tuple[str, Proxy]] = (),
        screen: Screen | None = None,
    ) -> None:
        self._run_dir, self._strategy, self._screen = run_dir, strategy, screen
        self._name, proxy = fitness
        self._others = dict(others)
        self.history = History(proxy, self._others)
        self.exhausted = False
        self._replay: deque[CandidateRecord] = deque()
        self._generation, self._seconds_before = 0, 0.0
        self._started = time.monotonic()
        self._has_state = self._resume()
        self._replays_all = bool(self._replay) and not self._has_state

    @property
    def seconds(self) -> float:
        """Time spent searching, over all restarts up to what the last state had saved."""
        return self._seconds_before + time.monotonic() - self._started

    @property
    def evaluated(self) -> int:
        """Proposals answered, repeats included."""
        return len(self.history.records)

    @property
    def journaled(self) -> int:
        """Proposals whose answer is in the journal already."""
        return self.evaluated + len(self._replay)

    def run(
        self,
        measure: Measure,
        on_candidate: OnCandidate,
        on_generation: OnGeneration = lambda *_: None,
    ) -> None:
        """Search until the strategy's evaluations are used up, or it ends.

        ``on_generation`` is called with every generation that no earlier start gave to it.

        Raises:
            UserError: No candidate could be scored, or the journal is of another search.
        """
        limit, latencies = self._strategy.evaluations, self._strategy.proposals.costs.latencies
        while limit is None or self.evaluated < limit:
            before = None if self._has_state else self._state()
            asked = self._strategy.ask()
            if not asked:
                self.exhausted = True
                break
            chosen = asked if limit is None else asked[: limit - self.evaluated]
            if latencies is not None:  # measured while no other process scores
                for arch in chosen:
                    latencies.of(arch)
            self._run_dir.begin()
            if latencies is not None:
                latencies.keep()
            if before is not None:
                self._run_dir.save_state(before)
                self._has_state = True
            fresh = max(0, len(chosen) - len(self._replay))
            dropped = self._dropped(asked)
            records = self._score(chosen, dropped, measure, on_candidate)
            whole = len(chosen) == len(asked)
            if whole:
                self._tell(asked)
                self._generation += 1
                self._run_dir.save_state(self._state(self._run_dir.journal.length))
            if fresh or (whole and not self._replays_all):
                on_generation(records, fresh)
            if not whole:
                break
        self._check_any_scored()

    def _dropped(self, asked: Sequence[Arch]) -> dict[str, Measurement]:
        """What the screen drops of what is new in a generation, a function of all before it."""
        if self._screen is None:
            return {}
        new = [arch for arch in dict.fromkeys(asked) if self.history.known(str(arch)) is None]
        return self._screen.dropped(new)

    def _score(
        self,
        archs: Sequence[Arch],
        dropped: Mapping[str, Measurement],
        measure: Measure,
        on_candidate: OnCandidate,
    ) -> list[CandidateRecord]:
        records = []
        best, highest = self.history.best()
        for record in self._answer(archs, dropped, measure):
            self.history.add(record)
            records.append(record)
            if record.score is not None and record.score > highest:
                best, highest = record.arch, record.score
            relative = self.history.relative or best is None  # then the score says nothing
            on_candidate(record, self.evaluated, best if relative else highest)
        return records

    def _answer(
        self, archs: Sequence[Arch], dropped: Mapping[str, Measurement], measure: Measure
    ) -> Iterator[CandidateRecord]:
        """Records in ask order: replayed, repeated, or dropped or measured and journaled."""
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
        new = [arch for arch in dict.fromkeys(rest) if self.history.known(str(arch)) is None]
        fresh = [arch for arch in new if str(arch) not in dropped]
        measurements = measure(fresh) if fresh else iter(())
        for arch in rest:
            if known := self.history.known(str(arch)):
                now = self.history.score(known.arch, known.parts) if known.status == "ok" else None
                same = replace(known, cached=True, seconds=0.0, score=now)
                record = replace(same, generation=self._generation)
            else:
                record = self._record(dropped.get(str(arch)) or next(measurements), arch)
            self._run_dir.journal.append(record)
            yield record

    def _record(self, measured: Measurement, arch: Arch) -> CandidateRecord:
        parts, cost = measured.parts.get(self._name), measured.cost
        latencies = self._strategy.proposals.costs.latencies
        timed = None if latencies is None else latencies.of(arch)
        runs = timed is not None and math.isfinite(timed.latency_ms)
        failures = [f"{name}: {why}" for name, why in measured.failures.items()]
        return CandidateRecord(
            arch=measured.arch,
            score=None if parts is None else self.history.score(measured.arch, parts),
            parts=parts or {},
            others={name: measured.parts.get(name) for name in self._others},
            **(asdict(cost) if cost else dict.fromkeys(("params", "flops", "layers"))),
            status="ok" if parts is not None else "failed" if failures else "screened",
            reason="; ".join(failures) or None,
            generation=self._generation,
            cached=False,
            seconds=round(measured.seconds, 4),
            latency_ms=timed.latency_ms if timed is not None and runs else None,
            latency_spread_ms=None if timed is None else timed.spread_ms,
        )

    def _tell(self, asked: Sequence[Arch]) -> None:
        scores = self.history.scores()
        if self.history.relative:
            parse = self._strategy.proposals.space.parse
            self._strategy.revise({parse(arch): score for arch, score in scores.items()})
        self._strategy.tell([Observation(arch, scores.get(str(arch))) for arch in asked])

    def _state(self, journal_bytes: int = 0) -> dict[str, Any]:
        return {
            **{"schema": 1, "journal_bytes": journal_bytes, "generation": self._generation},
            **{"seconds": round(self.seconds, 3), "versions": versions()},
            "strategy": self._strategy.state_dict(),
        }

    def _resume(self) -> bool:
        """Go on from the saved state, if there is one; without it the whole journal is replayed."""
        journal, state = self._run_dir.journal.read(), self._run_dir.load_state()
        if state is None:  # the time of the candidates is what is still known
            begun, seconds = 0, sum(record.seconds for record, _ in journal)
        else:
            begun, seconds = self._load(state, [0, *(end for _, end in journal)])
        result = self._run_dir.load_result(SearchSummary)
        self._seconds_before = max(seconds, 0.0 if result is None else result.seconds)
        for record, _ in journal[:begun]:
            self.history.add(record)
        self._replay.extend(record for record, _ in journal[begun:])
        return state is not None

    def _load(self, state: dict[str, Any], ends: Sequence[int]) -> tuple[int, float]:
        """Give the state to the strategy; gives the journal's lines it knows of, and its seconds.

        The journal has ``ends[n]`` bytes after ``n`` lines.
        """
        path = self._run_dir.path / "state.json"
        again = "remove state.json and run the same command, which replays candidates.jsonl"
        try:
            length = state["journal_bytes"]
            if length not in ends:
                raise UserError(
                    f"{path} speaks of {length} bytes of candidates.jsonl, which has {ends[-1]}: "
                    f"lines are missing; {again}"
                )
            self._strategy.load_state_dict(state["strategy"])
            self._generation, seconds = int(state["generation"]), float(state["seconds"])
            begun, here = state.get("versions", {}), versions()
            other = [f"{name} {old}" for name, old in begun.items() if here.get(name) != old]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            problem = f"{type(error).__name__}: {error}"
            raise UserError(f"{path} is damaged ({problem}); {again}") from error
        if other:
            begun_with = f"this run was begun with {', '.join(other)}"
            warnings.warn(f"{begun_with}: bits may differ from now on", stacklevel=1)
        return ends.index(length), seconds

    def _check_any_scored(self) -> None:
        if not self.history.records:
            proposals = self._strategy.proposals
            raise UserError(
                f"budget: no architecture of space {proposals.space.name} keeps {proposals.budget}"
            )
        if not self.history.scores():
            first = next(each for each in self.history.records if each.status == "failed")
            raise UserError(
                f"none of {self.evaluated} candidates could be scored; the first, {first.arch}: "
                f"{first.reason} (debug=true shows where)"
            )
