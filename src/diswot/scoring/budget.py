"""Costs of candidates, and the limits they must keep before they are scored."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import torch

from diswot.checks import positive, whole
from diswot.errors import UserError
from diswot.models.outputs import Cost, count_flops, count_layers, count_params
from diswot.spaces.base import Arch, Space

if TYPE_CHECKING:
    from diswot.scoring.latency import Latencies

Limit = float | str | None
"""See `Budget`."""

_COUNTS = ("params", "layers", "flops")  # cheapest first
_UNMEASURED = 1e6
"""Excess that is added where another limit is broken, so that no latency has to be known."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Upper limits; None sets no limit.

    Limited are what `Cost` counts, and ``latency_ms``, see `diswot.scoring.latency`. A limit is a
    number or, such as ``0.25x``, a share of what the ``teacher`` has; of a list the smallest
    counts. Where there is no teacher, ``1x`` in a list sets no limit. After ``max_tries`` proposals
    in a row that break the budget the search gives up.

    Raises:
        UserError: A limit that is not allowed, or a share where there is no teacher.
    """

    params: Limit | Sequence[Limit] = None
    flops: Limit | Sequence[Limit] = None
    layers: Limit | Sequence[Limit] = None
    latency_ms: Limit | Sequence[Limit] = None
    max_tries: int = 1000
    teacher: Mapping[str, float] | None = None
    _limits: dict[str, tuple[float, str]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("params", "flops", "layers", "latency_ms"):
            given = getattr(self, name)
            several = given if isinstance(given, list) else [given]
            unset = [None, "1x"] if several is given and self.teacher is None else [None]
            if limits := [self._limit(name, value) for value in several if value not in unset]:
                self._limits[name] = min(limits)
        object.__setattr__(self, "max_tries", whole("budget.max_tries", self.max_tries, 1))

    def _limit(self, name: str, value: Limit) -> tuple[float, str]:
        """The number, and where it comes from unless it was given as one."""
        setting, share = f"budget.{name}", isinstance(value, str) and value.endswith("x")
        try:
            number = positive(setting, float(str(value)[:-1]) if share else value)
        except (UserError, ValueError):
            allowed = "a positive number, or a share of the teacher's such as 0.25x"
            raise UserError(f"{setting}={value} is not allowed; give {allowed}") from None
        if not share:
            return number, ""
        if self.teacher is None:
            raise UserError(f"{setting}={value}: there is no teacher; name one, or give a number")
        if name not in self.teacher:
            raise UserError(f"{setting}={value}: a table knows no teacher's; give a number")
        return number * self.teacher[name], f" ({value} of the teacher)"

    def limits(self) -> dict[str, float]:
        """The limits that are set, by name."""
        return {name: limit for name, (limit, _) in self._limits.items()}

    def excess(self, arch: Arch, costs: CostModel, enough: float = math.inf) -> float:
        """How far ``arch`` is over its worst limit: 0 inside, 1 at twice the limit.

        Cheap counts come first; what is known to be over ``enough`` is not counted further. The
        latency, the dearest, is asked for where all other limits are kept; where they are not, the
        excess is far above that of any latency.
        """
        worst = 0.0
        for name in _COUNTS:
            if name in self._limits and worst <= enough:
                worst = max(worst, costs.count(name, arch) / self._limits[name][0] - 1.0)
        if "latency_ms" not in self._limits:
            return worst
        if worst > 0:
            return worst + _UNMEASURED
        return max(0.0, costs.count("latency_ms", arch) / self._limits["latency_ms"][0] - 1.0)

    def __str__(self) -> str:
        limits = (f"{k} ≤ {shown(k, v)}{origin}" for k, (v, origin) in self._limits.items())
        return ", ".join(limits) or "no limit"


def shown(name: str, value: float) -> str:
    """A count, or a limit of it, for people."""
    return f"{value:.4g}" if name == "latency_ms" else f"{math.floor(value):,}"


class CostModel:
    """Costs of a space's architectures: by its formula, or each counted once on the meta device.

    ``num_classes`` is the width of the classifier, ``image`` ``(in_channels, height, width)``;
    ``latencies`` are there where something asks for them.
    """

    def __init__(
        self,
        space: Space,
        *,
        num_classes: int,
        image: tuple[int, int, int],
        latencies: Latencies | None = None,
    ) -> None:
        self._space, self._num_classes, self._image = space, num_classes, image
        self.latencies = latencies
        formula = partial(space.cost, num_classes=num_classes, image=image)
        self._formula = lru_cache(maxsize=4096)(formula)
        self._known: dict[str, dict[Hashable, int]] = {name: {} for name in _COUNTS}

    def params(self, arch: Arch) -> int:
        """Trainable parameters."""
        return self._whole("params", arch)

    def layers(self, arch: Arch) -> int:
        """Convolutions and linear layers, see `Cost`."""
        return self._whole("layers", arch)

    def flops(self, arch: Arch) -> int:
        """MACs of one image."""
        return self._whole("flops", arch)

    def cost(self, arch: Arch) -> Cost:
        """All three."""
        flops = self.flops(arch)  # first: the network is built once for all
        return Cost(self.params(arch), flops, self.layers(arch))

    def count(self, name: str, arch: Arch) -> float:
        """One of them by its name in `Cost`, or ``latency_ms``, in milliseconds."""
        if name != "latency_ms":
            return self._whole(name, arch)
        assert self.latencies is not None  # there wherever a limit or an objective names it
        return self.latencies.of(arch).latency_ms

    def _whole(self, name: str, arch: Arch) -> int:
        if (cost := self._formula(arch)) is not None:
            return int(getattr(cost, name))
        known = self._known[name]
        if arch not in known:
            summands = self._space.summands(arch)
            if len(summands) > 2:  # else it is the base, or the base with one choice changed
                base, *others = (self._whole(name, each) for each in summands)
                known[arch] = base + sum(other - base for other in others)
            else:
                self._count(arch, flops=name == "flops")
        return known[arch]

    def _count(self, arch: Arch, *, flops: bool) -> None:
        """Running costs more than building, so MACs are counted only where asked."""
        with torch.device("meta"):
            sizes = self._num_classes, self._image[0], self._image[-1]
            network = self._space.built_for(arch, *sizes)
        self._known["params"][arch] = count_params(network)
        self._known["layers"][arch] = count_layers(network)
        if flops:
            self._known["flops"][arch] = count_flops(network, self._image)
