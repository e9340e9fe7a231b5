"""How firm the order of the best is: their places by seed."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from diswot.proxies.base import Components, Proxy
from diswot.runs import TopCandidate
from diswot.scoring.setup import Setup, make_proxies

_SEEDS = 2


def places_by_seed(
    config: Mapping[str, Any], setup: Setup, best: Sequence[TopCandidate]
) -> dict[str, list[int]]:
    """The places that candidates take among themselves, by seed: under their own and two others.

    Under the others they are scored anew by the fitness alone, with another mini-batch and other
    weights; what cannot be scored comes last. Under their own they may stand otherwise than among
    all, where the score compares candidates. There are none of a baseline, which looks at next to
    nothing.
    """
    name, proxy = setup.fitness
    archs = [each.arch for each in best]
    if proxy.baseline:
        return {}
    found = {str(config["seed"]): _places(archs, proxy, {each.arch: each.parts for each in best})}
    for seed in range(config["seed"] + 1, config["seed"] + 1 + _SEEDS):
        own = {name: make_proxies(config)[name]}
        other = Setup.from_config({**config, "seed": seed}, data=setup.data, proxies=own)
        memory = other.scorer.memory()
        measured = [other.scorer.measure(setup.space.parse(arch), memory) for arch in archs]
        parts = {each.arch: each.parts[name] for each in measured if name in each.parts}
        found[str(seed)] = _places(archs, other.proxies[name], parts)
    return found


def _places(archs: Sequence[str], proxy: Proxy, parts: Mapping[str, Components]) -> list[int]:
    scores = dict(zip(parts, proxy.fitness(list(parts.values())), strict=True))
    order = sorted(archs, key=lambda arch: -scores.get(arch, -math.inf))
    return [order.index(arch) + 1 for arch in archs]
