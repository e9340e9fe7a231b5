"""Candidates of a search and their scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diswot.proxies.base import Proxy
    from diswot.runs import CandidateRecord

__all__ = ["History"]


class History:
    """All candidates so far, in ask order, and their scores.

    Attributes:
        records: One a candidate, repeats included.
        relative: Whether scores depend on the other candidates.
    """

    def __init__(self, fitness: Proxy, others: Mapping[str, Proxy]) -> None:
        self._fitness, self._others = fitness, others
        self.relative = fitness.relative
        self.records: list[CandidateRecord] = []
        self._known: dict[str, CandidateRecord] = {}
        self._scored: list[str] = []

    def add(self, record: CandidateRecord) -> None:
        """Append a candidate."""
        self.records.append(record)
        if record.arch not in self._known:
            self._known[record.arch] = record
            if record.status == "ok":
                self._scored.append(record.arch)

    def known(self, arch: str) -> CandidateRecord | None:
        """The record of an architecture seen before."""
        return self._known.get(arch)

    def scores(self) -> dict[str, float]:
        """Fitness of every distinct candidate that could be scored, in ask order."""
        parts = [self._known[arch].parts for arch in self._scored]
        return dict(zip(self._scored, self._fitness.fitness(parts), strict=True))

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
