"""Successive halving as a pure function of what is measured; means with their intervals."""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from diswot.errors import UserError
from diswot.runs import Estimate, RaceRecord


@dataclass(frozen=True)
class Trial:
    """One training: of an architecture, on a rung (from 1) and under a seed, taught or alone."""

    arch: str
    rung: int
    epochs: int
    seed: int
    taught: bool


Measure = Callable[[Sequence[Trial]], Sequence[RaceRecord]]
"""Does trainings; gives what each was like, in their order."""


@dataclass(frozen=True)
class Plan:
    """A race before it begins.

    ``archs`` are different ones. The ``control`` may be one of them; it runs on the last rung
    whatever happens. ``rungs`` are epochs; after each but the last the share ``keep`` goes on. The
    last has all ``seeds``, the others the first. ``taught``: there is a teacher.
    """

    archs: Sequence[str]
    control: str | None
    rungs: Sequence[int]
    keep: float
    seeds: Sequence[int]
    taught: bool

    def trials(self, archs: Iterable[str], rung: int, *, taught: bool | None = None) -> list[Trial]:
        """The trainings of some architectures on a rung."""
        seeds = self.seeds if rung == len(self.rungs) else self.seeds[:1]
        given = (rung, self.rungs[rung - 1])
        taught = self.taught if taught is None else taught
        return [Trial(arch, *given, seed, taught) for seed in seeds for arch in archs]

    def fields(self) -> list[int]:
        """How many contestants begin each rung, the control of the last not counted."""
        counts = [len(self.archs)]
        for _ in self.rungs[1:]:
            counts.append(_kept(counts[-1], self.keep))
        return counts


def decided(plan: Plan, measure: Measure) -> str:
    """Race, and give the winner; the control, if all others diverge on the last rung.

    At the end the winner and the control are trained alone too, where there is a teacher.

    Raises:
        UserError: The trainings of all that were left diverged.
    """
    field, last = list(plan.archs), len(plan.rungs)
    for rung in range(1, last + 1):
        beside = [plan.control] if plan.control and rung == last else []
        records = measure(plan.trials(dict.fromkeys([*field, *beside]), rung))
        scores = {
            arch: statistics.fmean(_accuracy(r) for r in records if r.arch == arch)
            for arch in [*field, *beside]
        }
        ranked = {arch: scores[arch] for arch in field}
        field = survivors(ranked, plan.keep if rung < last else 0.0) or survivors(scores, 1.0)[:1]
        if not field:
            reason = next(record.reason for record in records if record.reason)
            raise UserError(f"all that were left diverged on rung {rung}; the first: {reason}")
    if plan.taught:
        compared = dict.fromkeys([field[0], *([plan.control] if plan.control else [])])
        measure(plan.trials(compared, last, taught=False))
    return field[0]


def survivors(scores: Mapping[str, float], keep: float) -> list[str]:
    """The best by score, a share of all, at least one; best first, equals in the given order.

    Those whose score is minus infinity leave whatever their place.
    """
    ranked = sorted(scores, key=lambda arch: -scores[arch])[: _kept(len(scores), keep)]
    return [arch for arch in ranked if scores[arch] > -math.inf]


def _accuracy(record: RaceRecord) -> float:
    return -math.inf if record.val_top1 is None else record.val_top1


def _kept(count: int, keep: float) -> int:
    return max(1, math.floor(count * keep))


def estimate(values: Sequence[float]) -> Estimate | None:
    """The mean of one value a seed with its 95 % interval by Student's t; None of no values."""
    from scipy.stats import t

    if not values:
        return None
    count, half = len(values), None
    if count > 1:
        half = float(t.ppf(0.975, count - 1)) * statistics.stdev(values) / math.sqrt(count)
        half = round(half, 4)  # of percents, which are float32
    return Estimate(round(statistics.fmean(values), 4), half, count)
