"""What a search knows of all candidates so far: their records, and their scores as they stand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from operator import itemgetter
from typing import TYPE_CHECKING

from diswot.runs import CandidateRecord

if TYPE_CHECKING:
    from diswot.proxies.base import Proxy


class History:
    """All candidates so far, in ask order, and their scores; ``records`` are one a candidate."""

    def __init__(self, fitness: Proxy, others: Mapping[str, Proxy]) -> None:
        self._fitness, self._others = fitness, others
        self.relative = fitness.relative
        self.records: list[CandidateRecord] = []
        self._known: dict[str, CandidateRecord] = {}
        self._scored: list[str] = []
        self._scores: dict[str, float] | None = {}  # None where they are to be computed anew
        self._best: tuple[str | None, float] = (None, -math.inf)  # unless relative

    def add(self, record: CandidateRecord) -> None:
        """Append a candidate."""
        self.records.append(record)
        if record.arch not in self._known:
            self._known[record.arch] = record
            if record.status == "ok":
                self._scored.append(record.arch)
                if self.relative:
                    self._scores = None
                elif self._scores is not None:
                    score = self.score(record.arch, record.parts)
                    self._scores[record.arch] = score
                    self._best = max(self._best, (record.arch, score), key=itemgetter(1))

    def known(self, arch: str) -> CandidateRecord | None:
        """The record of an architecture seen before."""
        return self._known.get(arch)

    def scores(self) -> dict[str, float]:
        """Fitness of every distinct candidate that could be scored, in ask order."""
        if self._scores is None:
            parts = [self._known[arch].parts for arch in self._scored]
            self._scores = dict(zip(self._scored, self._fitness.fitness(parts), strict=True))
        return self._scores

    def best(self) -> tuple[str | None, float]:
        """The candidate with the highest fitness as it stands, the first of equals; None, -inf."""
        if not self.relative:
            return self._best
        pairs = [(None, -math.inf), *self.scores().items()]
        return max(pairs, key=itemgetter(1))

    def others(self) -> dict[str, dict[str, float]]:
        """Scores by every further proxy: by its name and architecture, where it could measure."""
        scores: dict[str, dict[str, float]] = {}
        for name, proxy in self._others.items():
            measured = {arch: record.others.get(name) for arch, record in self._known.items()}
            parts = {arch: each for arch, each in measured.items() if each is not None}
            scores[name] = dict(zip(parts, proxy.fitness(list(parts.values())), strict=True))
        return scores

    def score(self, arch: str, parts: dict[str, float]) -> float:
        """Fitness of a candidate among all so far and itself."""
        if not self.relative:
            return self._fitness.fitness([parts])[0]
        others = [self._known[other].parts for other in self._scored if other != arch]
        return self._fitness.fitness([*others, parts])[-1]

    def ranking(self) -> list[tuple[CandidateRecord, float]]:
        """Distinct scored candidates with their fitness, best first, ties in ask order."""
        pairs = [(self._known[arch], score) for arch, score in self.scores().items()]
        return sorted(pairs, key=lambda pair: -pair[1])
