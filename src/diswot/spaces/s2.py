"""S2: four-stage ImageNet networks of free depth, width and kernel around ResNet-18."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from diswot.checks import number, whole
from diswot.errors import UserError
from diswot.spaces.base import Gene, SpaceSize, Value, steps
from diswot.spaces.s1 import StagedArch, StagedSpace, odd


@dataclass(frozen=True)
class _Depth(Gene):
    """A number of blocks; a mutation adds or removes one."""

    def neighbours(self, value: Value) -> list[Value]:
        return [other for other in self.choices if abs(int(other) - int(value)) == 1]


@dataclass(frozen=True)
class _Width(Gene):
    """A width, drawn log-uniformly; a mutation multiplies or divides it by a factor."""

    factors: tuple[float, ...] = ()
    step: int = 1

    def sample(self, rng: Random) -> Value:
        low, high = math.log(int(self.choices[0])), math.log(int(self.choices[-1]))
        return self._rounded(math.exp(rng.uniform(low, high)))

    def neighbours(self, value: Value) -> list[Value]:
        scaled = (width for f in self.factors for width in (int(value) * f, int(value) / f))
        near = set(map(self._rounded, scaled)) - {value}
        return [choice for choice in self.choices if choice in near]

    def _rounded(self, width: float) -> int:
        return self.step * math.floor(width / self.step + 0.5)


class S2(StagedSpace):
    """The ImageNet space of DisWOT: networks around ResNet-18, of limited depth altogether.

    A 7×7 stem of stride 2 and a max-pool, then stages of basic blocks, of which all but the first
    halve the map. Every shape-changing shortcut is a 1×1 convolution with BatchNorm. Random members
    have uniform kernels, depths uniform among those allowed together, and widths log-uniform
    between their limits, rounded to a multiple of ``width_step``.

    Source: Dong et al., "DisWOT: Student Architecture Search for Distillation WithOut
    Training", CVPR 2023, search space S2. The width limits are ours.

    Args:
        base: Text of the architecture that has as many stages and gives the widths' scale.
        width_factors: A mutation multiplies or divides a width by one of them.
        width_limits: Narrowest and widest stem and stages, times the base's.
        width_step: All widths are multiples of it.
        max_layers: Most layers: stem, two a block, classifier.
    """

    pattern = re.compile(r"b(?P<kernel>\d{1,9})x(?P<depth>\d{1,9})-(?P<width>\d{1,9})")
    stem = "imagenet"

    def __init__(
        self,
        *,
        name: str,
        base: str,
        kernels: Sequence[int],
        width_factors: Sequence[float],
        width_limits: Sequence[float],
        width_step: int,
        max_layers: int,
        **space: Any,
    ) -> None:
        self.name = name
        arch = self.read(str(base))
        if arch is None:
            raise UserError(f"space.base={base} is not allowed; give one as {name}:64/b3x2-64")
        self.base = self.example = arch
        stages = len(arch.stages)
        step = whole("space.width_step", width_step, 1)
        factors = tuple(number("space.width_factors", f, low=1) for f in width_factors)
        limits = list(width_limits)
        if len(limits) != 2:
            raise UserError(f"space.width_limits={limits}: give the narrowest and the widest")
        low = number("space.width_limits", limits[0], low=0, high=1)
        high = number("space.width_limits", limits[1], low=1)
        self.max_layers = whole("space.max_layers", max_layers, 2 + 2 * stages)
        self._blocks = (self.max_layers - 2) // 2
        """Most blocks of all stages together."""

        def width(gene: str, of_base: int) -> Gene:
            narrowest = max(1, math.ceil(of_base * low / step)) * step
            widths = steps(narrowest, math.floor(of_base * high / step) * step, step)
            return _Width(gene, widths, factors=factors, step=step)

        genes = [width("stem", arch.stem)]
        for position, stage in enumerate(arch.stages, start=1):
            genes += [
                Gene(f"kernel of stage {position}", odd(kernels)),
                _Depth(f"depth of stage {position}", steps(1, self._blocks - stages + 1)),
                width(f"width of stage {position}", stage.width),
            ]
        super().__init__(genes=genes, name=name, **space)
        self.parse(str(base))

    @property
    def size(self) -> SpaceSize:
        """Exact: all widths and kernels, times the depths that ``max_layers`` allows together."""
        free = [gene for gene in self.genes if not gene.name.startswith("depth")]
        depths = math.comb(self._blocks, len(self.base.stages))
        return SpaceSize(math.prod(len(gene.choices) for gene in free) * depths)

    def allows(self, arch: StagedArch) -> bool:
        """Whether ``max_layers`` is kept."""
        return arch.layers <= self.max_layers

    def mutate(self, arch: StagedArch, rng: Random) -> StagedArch:
        """Change one thing: any other kernel, one block more or less, a width by a factor, rounded.

        The place (the stem or a stage), the thing (kernel, depth or width) and the new value are
        drawn uniformly, in this order, among those that lead to another member of the space.
        """
        values = self.values(arch)
        places: dict[int, list[list[StagedArch]]] = {}
        for index, gene in enumerate(self.genes):
            before, after = values[:index], values[index + 1 :]
            near = [(*before, value, *after) for value in gene.neighbours(values[index])]
            if allowed := list(filter(self.allows, map(self.from_values, near))):
                places.setdefault((index + 2) // 3, []).append(allowed)
        if not places:
            raise UserError(f"space={self.name}: {arch} has no neighbour: nothing to mutate")
        return rng.choice(rng.choice(rng.choice(list(places.values()))))

    def parse(self, text: str) -> StagedArch:
        """See `StagedSpace`; refuses too many layers too."""
        arch = super().parse(text)
        if not self.allows(arch):
            allowed = f"space.max_layers allows {self.max_layers}"
            raise UserError(f"arch {text!r} has {arch.layers} layers; {allowed}")
        return arch
