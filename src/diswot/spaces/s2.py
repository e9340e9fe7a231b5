"""S2: four-stage ImageNet networks of free depth, width and kernel around ResNet-18."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from diswot.checks import number, whole
from diswot.errors import UserError
from diswot.spaces.base import SpaceSize
from diswot.spaces.product import Gene, ProductSpace, Value, steps

if TYPE_CHECKING:
    from random import Random

    from torch import nn

__all__ = ["S2", "S2Arch", "S2Stage"]

_STAGE = re.compile(r"b(\d{1,9})x(\d{1,9})-(\d{1,9})")
_ENDS = 2
"""Layers outside the stages: stem and classifier."""


@dataclass(frozen=True)
class S2Stage:
    """One stage of basic blocks.

    Attributes:
        kernel: K of both convolutions of a block.
        depth: Number of blocks.
        width: Channels of both convolutions.
    """

    kernel: int
    depth: int
    width: int

    def __str__(self) -> str:
        return f"b{self.kernel}x{self.depth}-{self.width}"


@dataclass(frozen=True)
class S2Arch:
    """Stem width and stages; text ``s2:64/b3x2-64/b3x2-128/b3x2-256/b3x2-512``.

    A stage reads: ``b`` kernel ``x`` depth, width.
    """

    stem: int
    stages: tuple[S2Stage, ...]
    space: str = "s2"

    def __str__(self) -> str:
        return f"{self.space}:{'/'.join([str(self.stem), *map(str, self.stages)])}"

    @property
    def layers(self) -> int:
        """Convolutions and linear layers, as `diswot.models.cost.Cost` counts them."""
        return _ENDS + 2 * sum(stage.depth for stage in self.stages)


class S2(ProductSpace[S2Arch]):
    """The ImageNet space of DisWOT: networks around ResNet-18, of limited depth altogether.

    A 7×7 stem of stride 2 and a max-pool, then stages of basic blocks, of which all but the first
    halve the map. Every shape-changing shortcut is a 1×1 convolution with BatchNorm.

    Source: Dong et al., "DisWOT: Student Architecture Search for Distillation WithOut
    Training", CVPR 2023, search space S2. The width limits are ours.

    Args:
        name: Prefix of the text form.
        base: Text of the architecture that has as many stages and gives the widths' scale.
        kernels: Allowed kernel sizes, odd.
        width_factors: A mutation multiplies or divides a width by one of them.
        width_limits: Narrowest and widest stem and stages, times the base's.
        width_step: All widths are multiples of it.
        max_layers: Most layers: stem, two a block, classifier.
        default_budget: See `Space`.
    """

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
        default_budget: dict[str, float] | None = None,
    ) -> None:
        arch = _read(str(base), name)
        if arch is None:
            raise UserError(f"space.base={base} is not allowed; give one as {name}:64/b3x2-64")
        self.base = arch
        self.step = whole("space.width_step", width_step, 1)
        self.factors = tuple(number("space.width_factors", f, low=1) for f in width_factors)
        self.max_layers = whole("space.max_layers", max_layers, _ENDS + 2 * len(arch.stages))
        genes = self._genes(_odd(kernels), *_limits(width_limits))
        super().__init__(name=name, genes=genes, default_budget=default_budget)
        self.parse(str(base))

    def _genes(self, kernels: Sequence[int], low: float, high: float) -> list[Gene]:
        """Stem width, then kernel, depth and width of each stage."""
        stages = self.base.stages
        depths = steps(1, (self.max_layers - _ENDS) // 2 - len(stages) + 1)
        genes = [Gene("stem", _multiples(self.base.stem, low, high, self.step))]
        for position, stage in enumerate(stages, start=1):
            genes += [
                Gene(f"kernel of stage {position}", tuple(kernels)),
                Gene(f"depth of stage {position}", depths),
                Gene(f"width of stage {position}", _multiples(stage.width, low, high, self.step)),
            ]
        return genes

    @property
    def size(self) -> SpaceSize:
        """Exact: all widths and kernels, times the depths that ``max_layers`` allows together."""
        free = [gene for gene in self.genes if not gene.name.startswith("depth")]
        depths = math.comb((self.max_layers - _ENDS) // 2, len(self.base.stages))
        return SpaceSize(math.prod(len(gene.choices) for gene in free) * depths)

    @property
    def embedding_width(self) -> int | None:
        """None, as the last stage's width is a choice; the width where only one is allowed."""
        widths = self.genes[-1].choices
        return int(widths[0]) if len(widths) == 1 else None

    def sample(self, rng: Random) -> S2Arch:
        """Draw every gene by itself, again and again until ``max_layers`` is kept.

        Kernels and depths are uniform, so depths are uniform among those allowed together; a
        width is log-uniform between its limits, rounded to a multiple of ``width_step``.
        """
        while True:
            arch = self.from_values([self._draw(gene, rng) for gene in self.genes])
            if arch.layers <= self.max_layers:
                return arch

    def mutate(self, arch: S2Arch, rng: Random) -> S2Arch:  # type: ignore[override]
        """Change one thing in one place.

        The place (the stem or a stage), the thing (kernel, depth or width) and the new value are
        drawn uniformly, in this order, among those that lead to another member of the space: any
        other kernel, one block more or less, a width times or over a factor, rounded.
        """
        values = self.values(arch)
        places: dict[int, list[list[S2Arch]]] = {}
        for index, gene in enumerate(self.genes):
            near = [
                self.from_values([*values[:index], value, *values[index + 1 :]])
                for value in self._near(gene, int(values[index]))
            ]
            if allowed := [other for other in near if other.layers <= self.max_layers]:
                places.setdefault((index + 2) // 3, []).append(allowed)
        if not places:
            raise UserError(f"space={self.name}: {arch} has no neighbour: nothing to mutate")
        return rng.choice(rng.choice(rng.choice(list(places.values()))))

    def enumerate(self) -> Iterator[S2Arch]:
        """All architectures, the last gene changing fastest."""
        return (arch for arch in super().enumerate() if arch.layers <= self.max_layers)

    def from_values(self, values: Sequence[Value]) -> S2Arch:
        """See `ProductSpace`; it does not check ``max_layers``."""
        stem, *rest = map(int, values)
        stages = (S2Stage(*stage) for stage in zip(*[iter(rest)] * 3, strict=True))
        return S2Arch(stem, tuple(stages), self.name)

    def values(self, arch: S2Arch) -> tuple[Value, ...]:
        """See `ProductSpace`."""
        stages = ((stage.kernel, stage.depth, stage.width) for stage in arch.stages)
        return (arch.stem, *(value for stage in stages for value in stage))

    def parse(self, text: str) -> S2Arch:
        """Read the text form.

        Raises:
            UserError: Another form, a value that is not among the choices, too many layers.
        """
        arch = _read(text, self.name)
        if arch is None:
            raise UserError(f"arch {text!r} is not of space {self.name}, which reads {self.base}")
        found, expected = len(arch.stages), len(self.base.stages)
        if found != expected:
            raise UserError(f"arch {text!r} has {found} stages; space {self.name} has {expected}")
        self.checked(arch, text)
        if arch.layers > self.max_layers:
            raise UserError(
                f"arch {text!r} has {arch.layers} layers; space.max_layers allows {self.max_layers}"
            )
        return arch

    def prefixes(self, arch: S2Arch) -> list[Hashable]:  # type: ignore[override]
        """See `Space`; all stages but the last."""
        return [(arch.stem, arch.stages[:stage]) for stage in range(1, len(arch.stages))]

    def build(self, arch: S2Arch, *, num_classes: int, in_channels: int = 3) -> nn.Module:  # type: ignore[override]
        """See `Space`."""
        from diswot.models.blocks import BasicBlock
        from diswot.models.staged import StagedNetwork

        channels, stages = arch.stem, []
        for index, stage in enumerate(arch.stages):
            blocks = []
            for block in range(stage.depth):
                stride = 2 if index > 0 and block == 0 else 1
                blocks.append(BasicBlock(channels, stage.width, stride, kernel=stage.kernel))
                channels = stage.width
            stages.append(blocks)
        return StagedNetwork(arch.stem, stages, num_classes, in_channels, stem="imagenet")

    def _draw(self, gene: Gene, rng: Random) -> Value:
        if gene.name.startswith(("kernel", "depth")):
            return rng.choice(gene.choices)
        low, high = math.log(int(gene.choices[0])), math.log(int(gene.choices[-1]))
        return _rounded(math.exp(rng.uniform(low, high)), self.step)

    def _near(self, gene: Gene, value: int) -> list[Value]:
        """The choices of a gene that a mutation may put in the place of ``value``."""
        if gene.name.startswith("kernel"):
            near = set(gene.choices)
        elif gene.name.startswith("depth"):
            near = {value - 1, value + 1}
        else:
            scaled = (w for f in self.factors for w in (value * f, value / f))
            near = {_rounded(width, self.step) for width in scaled}
        return [choice for choice in gene.choices if choice in near and choice != value]


def _read(text: str, name: str) -> S2Arch | None:
    """The architecture of a text of the right form, its values unchecked."""
    prefix, _, rest = text.partition(":")
    stem, *stages = rest.split("/")
    found = [match for stage in stages if (match := _STAGE.fullmatch(stage))]
    if prefix != name or not re.fullmatch(r"[0-9]{1,9}", stem) or len(found) != len(stages):
        return None
    parsed = (S2Stage(*(int(value) for value in match.groups())) for match in found)
    return S2Arch(int(stem), tuple(parsed), name)


def _limits(limits: Sequence[float]) -> tuple[float, float]:
    if len(limits) != 2:
        raise UserError(f"space.width_limits={list(limits)}: give the narrowest and the widest")
    low = number("space.width_limits", limits[0], low=0, high=1)
    return low, number("space.width_limits", limits[1], low=1)


def _odd(kernels: Sequence[int]) -> list[int]:
    for kernel in kernels:
        if whole("space.kernels", kernel, 1) % 2 == 0:
            raise UserError(f"space.kernels: {kernel} is even; only odd kernels keep the size")
    return list(kernels)


def _multiples(width: int, low: float, high: float, step: int) -> tuple[int, ...]:
    narrowest = max(1, math.ceil(width * low / step))
    return steps(narrowest * step, math.floor(width * high / step) * step, step)


def _rounded(width: float, step: int) -> int:
    return step * math.floor(width / step + 0.5)
