"""S1: three-stage CIFAR networks of free depth, width, kernel and block type."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from diswot.checks import whole
from diswot.errors import UserError
from diswot.spaces.base import Gene, ProductSpace, Value, odd, steps

if TYPE_CHECKING:
    from torch import nn

__all__ = ["S1", "S1Arch", "S1Stage"]

_LETTERS = {"basic": "b", "bottleneck": "n"}
_BLOCKS = {letter: block for block, letter in _LETTERS.items()}
_STAGE = re.compile(r"([bn])(\d{1,9})x(\d{1,9})-(\d{1,9})-(\d{1,9})")


@dataclass(frozen=True)
class S1Stage:
    """One stage.

    Attributes:
        block: ``basic`` (two K×K convolutions) or ``bottleneck`` (1×1, K×K, 1×1).
        kernel: K.
        depth: Number of blocks.
        middle: Channels between the convolutions of a block.
        width: Channels a block gives.
    """

    block: str
    kernel: int
    depth: int
    middle: int
    width: int

    def __str__(self) -> str:
        return f"{_LETTERS[self.block]}{self.kernel}x{self.depth}-{self.middle}-{self.width}"


@dataclass(frozen=True)
class S1Arch:
    """Stem width and stages; text ``s1:16/b3x2-24-32/n5x4-16-64/b3x1-64-128``.

    A stage reads: block letter, kernel ``x`` depth, middle width, output width.
    """

    stem: int
    stages: tuple[S1Stage, ...]
    space: str = "s1"

    def __str__(self) -> str:
        return f"{self.space}:{'/'.join([str(self.stem), *map(str, self.stages)])}"


class S1(ProductSpace[S1Arch]):
    """The CIFAR space of DisWOT's main search.

    Three stages of residual blocks after a 3×3 stem; the second and the third halve the map.
    Every shape-changing shortcut is a 1×1 convolution with BatchNorm.

    Source: Dong et al., CVPR 2023, search space S1, whose blocks are those of ZenNAS
    (Lin et al., ICCV 2021).

    Args:
        name: Prefix of the text form.
        blocks: Allowed block types, of ``basic`` and ``bottleneck``.
        kernels: Allowed kernel sizes, odd.
        max_depth: Most blocks of a stage; the least is one.
        max_stem: Widest stem.
        max_widths: Widest output (and middle) of each stage.
        width_step: All widths are multiples of it, and it is the narrowest.
        default_budget: See `Space`.
    """

    def __init__(
        self,
        *,
        name: str,
        blocks: Sequence[str],
        kernels: Sequence[int],
        max_depth: int,
        max_stem: int,
        max_widths: Sequence[int],
        width_step: int,
        default_budget: dict[str, float] | None = None,
    ) -> None:
        for block in blocks:
            if block not in _LETTERS:
                raise UserError(f"space.blocks: {block!r}; allowed: {', '.join(_LETTERS)}")
        kernels = odd(kernels)
        whole("space.max_depth", max_depth, 1)
        whole("space.width_step", width_step, 1)
        for widest in (max_stem, *max_widths):
            whole("space.max_stem and space.max_widths", widest, width_step)
        genes = [Gene("stem", steps(width_step, max_stem, width_step), ordered=True)]
        for stage, widest in enumerate(max_widths, start=1):
            widths = steps(width_step, widest, width_step)
            genes += [
                Gene(f"block of stage {stage}", tuple(blocks)),
                Gene(f"kernel of stage {stage}", kernels),
                Gene(f"depth of stage {stage}", steps(1, max_depth), ordered=True),
                Gene(f"middle width of stage {stage}", widths, ordered=True),
                Gene(f"width of stage {stage}", widths, ordered=True),
            ]
        super().__init__(name=name, genes=genes, default_budget=default_budget)

    @property
    def embedding_width(self) -> int | None:
        """None, as the last stage's width is a choice; the width where only one is allowed."""
        widths = self.genes[-1].choices
        return int(widths[0]) if len(widths) == 1 else None

    def from_values(self, values: Sequence[Value]) -> S1Arch:
        """See `ProductSpace`."""
        stages = (
            S1Stage(str(block), int(kernel), int(depth), int(middle), int(width))
            for block, kernel, depth, middle, width in zip(*[iter(values[1:])] * 5, strict=True)
        )
        return S1Arch(int(values[0]), tuple(stages), self.name)

    def values(self, arch: S1Arch) -> tuple[Value, ...]:
        """See `ProductSpace`."""
        stages = ((s.block, s.kernel, s.depth, s.middle, s.width) for s in arch.stages)
        return (arch.stem, *(value for stage in stages for value in stage))

    def parse(self, text: str) -> S1Arch:
        """Read the text form.

        Raises:
            UserError: Another form, or a value that is not among the choices.
        """
        prefix, _, rest = text.partition(":")
        stem, *stages = rest.split("/")
        matches = [match for stage in stages if (match := _STAGE.fullmatch(stage))]
        if prefix != self.name or not re.fullmatch(r"\d{1,9}", stem) or len(matches) != len(stages):
            example = self.from_values([gene.choices[0] for gene in self.genes])
            raise UserError(f"arch {text!r} is not of space {self.name}, which reads {example}")
        if len(stages) != (expected := len(self.genes) // 5):
            raise UserError(
                f"arch {text!r} has {len(stages)} stages; space {self.name} has {expected}"
            )
        parsed = tuple(S1Stage(_BLOCKS[m[1]], *map(int, m.groups()[1:])) for m in matches)
        return self.checked(S1Arch(int(stem), parsed, self.name), text)

    def prefixes(self, arch: S1Arch) -> list[Hashable]:  # type: ignore[override]
        """See `Space`; all stages but the last."""
        return [(arch.stem, arch.stages[:stage]) for stage in range(1, len(arch.stages))]

    def build(self, arch: S1Arch, *, num_classes: int, in_channels: int = 3) -> nn.Module:  # type: ignore[override]
        """See `Space`."""
        from diswot.models.staged import BasicBlock, Bottleneck, StagedNetwork, make_stage

        types = {"basic": BasicBlock, "bottleneck": Bottleneck}
        stages, channels, stride = [], arch.stem, 1
        for s in arch.stages:
            settings = {"kernel": s.kernel, "mid_channels": s.middle}
            stages.append(
                make_stage(types[s.block], s.depth, channels, s.width, stride, **settings)
            )
            channels, stride = s.width, 2
        return StagedNetwork(arch.stem, stages, num_classes, in_channels)
