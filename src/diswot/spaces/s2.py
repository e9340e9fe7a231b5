"""S2: four-stage ImageNet networks of free depth, width and kernel around ResNet-18."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from diswot.checks import number, whole
from diswot.errors import UserError
from diswot.spaces.base import Gene, ProductSpace, SpaceSize, Value, odd, steps

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


class S2(ProductSpace[S2Arch]):
    """The ImageNet space of DisWOT: networks around ResNet-18, of limited depth altogether.

    A 7×7 stem of stride 2 and a max-pool, then stages of basic blocks, of which all but the first
    halve the map. Every shape-changing shortcut is a 1×1 convolution with BatchNorm. Random members
    have uniform kernels, depths uniform among those allowed together, and widths log-uniform
    between their limits, rounded to a multiple of ``width_step``.

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
        self.base, stages = arch, len(arch.stages)
        step = whole("space.width_step", width_step, 1)
        factors = tuple(number("space.width_factors", f, low=1) for f in width_factors)
        if len(width_limits) != 2:
            raise UserError(
                f"space.width_limits={list(width_limits)}: give the narrowest and the widest"
            )
        low = number("space.width_limits", width_limits[0], low=0, high=1)
        high = number("space.width_limits", width_limits[1], low=1)
        self.max_layers = whole("space.max_layers", max_layers, _ENDS + 2 * stages)
        self._blocks = (self.max_layers - _ENDS) // 2
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
        super().__init__(name=name, genes=genes, default_budget=default_budget)
        self.parse(str(base))

    @property
    def size(self) -> SpaceSize:
        """Exact: all widths and kernels, times the depths that ``max_layers`` allows together."""
        free = [gene for gene in self.genes if not gene.name.startswith("depth")]
        depths = math.comb(self._blocks, len(self.base.stages))
        return SpaceSize(math.prod(len(gene.choices) for gene in free) * depths)

    @property
    def embedding_width(self) -> int | None:
        """None, as the last stage's width is a choice; the width where only one is allowed."""
        widths = self.genes[-1].choices
        return int(widths[0]) if len(widths) == 1 else None

    def allows(self, arch: S2Arch) -> bool:
        """Whether ``max_layers`` is kept."""
        return arch.layers <= self.max_layers

    def mutate(self, arch: S2Arch, rng: Random) -> S2Arch:  # type: ignore[override]
        """Change one thing in one place.

        The place (the stem or a stage), the thing (kernel, depth or width) and the new value are
        drawn uniformly, in this order, among those that lead to another member of the space: any
        other kernel, one block more or less, a width times or over a factor, rounded.
        """
        values = self.values(arch)
        places: dict[int, list[list[S2Arch]]] = {}
        for index, gene in enumerate(self.genes):
            near = (
                self.from_values([*values[:index], value, *values[index + 1 :]])
                for value in gene.neighbours(values[index])
            )
            if allowed := list(filter(self.allows, near)):
                places.setdefault((index + 2) // 3, []).append(allowed)
        if not places:
            raise UserError(f"space={self.name}: {arch} has no neighbour: nothing to mutate")
        return rng.choice(rng.choice(rng.choice(list(places.values()))))

    def from_values(self, values: Sequence[Value]) -> S2Arch:
        """See `ProductSpace`."""
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
        if len(arch.stages) != (expected := len(self.base.stages)):
            raise UserError(
                f"arch {text!r} has {len(arch.stages)} stages; space {self.name} has {expected}"
            )
        self.checked(arch, text)
        if not self.allows(arch):
            raise UserError(
                f"arch {text!r} has {arch.layers} layers; space.max_layers allows {self.max_layers}"
            )
        return arch

    def prefixes(self, arch: S2Arch) -> list[Hashable]:  # type: ignore[override]
        """See `Space`; all stages but the last."""
        return [(arch.stem, arch.stages[:stage]) for stage in range(1, len(arch.stages))]

    def build(self, arch: S2Arch, *, num_classes: int, in_channels: int = 3) -> nn.Module:  # type: ignore[override]
        """See `Space`."""
        from diswot.models.staged import BasicBlock, StagedNetwork, make_stage

        stages, channels, stride = [], arch.stem, 1
        for s in arch.stages:
            stages.append(
                make_stage(BasicBlock, s.depth, channels, s.width, stride, kernel=s.kernel)
            )
            channels, stride = s.width, 2
        return StagedNetwork(arch.stem, stages, num_classes, in_channels, stem="imagenet")


def _read(text: str, name: str) -> S2Arch | None:
    """The architecture of a text of the right form, its values unchecked."""
    prefix, _, rest = text.partition(":")
    stem, *stages = rest.split("/")
    matches = [match for stage in stages if (match := _STAGE.fullmatch(stage))]
    if prefix != name or not re.fullmatch(r"\d{1,9}", stem) or len(matches) != len(stages):
        return None
    return S2Arch(int(stem), tuple(S2Stage(*map(int, match.groups())) for match in matches), name)
