"""Screening: a cheap score says which of a generation's proposals are scored in full."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from diswot.checks import number
from diswot.errors import UserError
from diswot.scoring.pool import Measure, scoring_pool

if TYPE_CHECKING:
    from diswot.proxies.base import Proxy
    from diswot.scoring.scorer import Measurement
    from diswot.scoring.setup import Setup
    from diswot.spaces.base import Arch


@dataclass(frozen=True)
class Screen:
    """Keeps the share ``keep`` of a generation that is best by ``proxy``; ``measure`` asks it."""

    proxy: Proxy
    keep: float
    measure: Measure

    def dropped(self, archs: Sequence[Arch]) -> dict[str, Measurement]:
        """Those of different architectures that are not kept, with what the proxy measured.

        The share is rounded up; of equal ones the first asked are kept, and so is what the proxy
        cannot score.
        """
        scored = [each for each in self.measure(archs) if not each.failures]
        scores = self.proxy.fitness([each.parts[self.proxy.name] for each in scored])
        order = sorted(range(len(scored)), key=lambda place: -scores[place])
        kept = math.ceil(round(self.keep * len(archs), 6))  # 0.1 of 30 are 3
        return {scored[place].arch: scored[place] for place in order[kept:]}


def screen_of(config: Mapping[str, Any], setup: Setup) -> tuple[str | None, float]:
    """The proxy of a resolved config's screen, None where there is none, and the share it keeps.

    Raises:
        UserError: ``screen.proxy`` is none of the proxies beside the fitness, or ``screen.keep`` is
            no share.
    """
    name, others = config["screen"]["proxy"], dict(setup.others)
    keep = number("screen.keep", config["screen"]["keep"], low=0.01, high=1)
    if name is not None and str(name) not in others:
        raise UserError(
            f"screen.proxy={name} is not allowed; give one of the proxies after the first, which "
            f"gives the fitness ({', '.join(others) or 'proxy names none'}), or null"
        )
    return None if name is None else str(name), keep


@contextmanager
def screening(name: str | None, keep: float, setup: Setup, workers: int) -> Iterator[Screen | None]:
    """The screen that `screen_of` names, for as long as the context lasts."""
    if name is None:
        yield None
        return
    proxy = dict(setup.others)[name]
    with scoring_pool(replace(setup.scorer, proxies={name: proxy}), workers) as measure:
        yield Screen(proxy, keep, measure)
