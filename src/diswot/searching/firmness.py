"""How firm the order of the best is: their places under other seeds."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from diswot.scoring.setup import Setup, make_proxies

_SEEDS = 2


def places_under_other_seeds(
    config: Mapping[str, Any], setup: Setup, archs: Sequence[str]
) -> dict[str, list[int]]:
    """The places that architectures take among themselves under the next two seeds, by seed.

    They are scored anew by the fitness alone, with another mini-batch and other weights; what
    cannot be scored comes last. There are none of a baseline, which looks at next to nothing.
    """
    name, proxy = setup.fitness
    found: dict[str, list[int]] = {}
    for seed in range(config["seed"] + 1, config["seed"] + 1 + _SEEDS * (not proxy.baseline)):
        own = {name: make_proxies(config)[name]}
        other = Setup.from_config({**config, "seed": seed}, data=setup.data, proxies=own)
        memory = other.scorer.memory()
        measured = [other.scorer.measure(setup.space.parse(arch), memory) for arch in archs]
        parts = {each.arch: each.parts[name] for each in measured if name in each.parts}
        fitness = other.proxies[name].fitness(list(parts.values()))
        scores = dict(zip(parts, fitness, strict=True))
        order = sorted(archs, key=lambda arch: -scores.get(arch, -math.inf))
        found[str(seed)] = [order.index(arch) + 1 for arch in archs]
    return found
