"""S1: three-stage CIFAR networks of free depth, width, kernel and block; its base serves S2."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from diswot.checks import choice, whole
from diswot.errors import UserError
from diswot.spaces.base import Gene, ProductSpace, Value, steps

if TYPE_CHECKING:
    from torch import nn

    from diswot.models.outputs import Cost
    from diswot.models.parts import PartMaker
    from diswot.models.resnet import Blocks

_LETTERS = {"basic": "b", "bottleneck": "n"}
"""Block types and what stands for them in texts."""


class Stage(NamedTuple):
    """One stage of ``depth`` blocks that give ``width`` channels; its text begins with `block`.

    A block is ``basic`` (two K×K convolutions) or ``bottleneck`` (1×1, K×K, 1×1) and has ``middle``
    channels between its convolutions, by default as the block says; ``kernel`` is K.
    """

    kernel: int
    depth: int
    width: int
    block: str = "basic"
    middle: int | None = None

    def __str__(self) -> str:
        middle = "" if self.middle is None else f"-{self.middle}"
        return f"{_LETTERS[self.block]}{self.kernel}x{self.depth}{middle}-{self.width}"


@dataclass(frozen=True)
class StagedArch:
    """Stem width and stages; text ``s2:64/b3x2-64/b3x2-128``, with a middle ``s1:16/n3x2-24-32``.

    A stage reads: block letter, kernel ``x`` depth, middle width if it is a choice, output width.
    """

    stem: int
    stages: tuple[Stage, ...]
    space: str

    def __str__(self) -> str:
        return f"{self.space}:{'/'.join(map(str, (self.stem, *self.stages)))}"

    @property
    def layers(self) -> int:
        """Convolutions and linear layers, as `diswot.models.outputs.Cost` counts them."""
        return 2 + sum(s.depth * {"basic": 2, "bottleneck": 3}[s.block] for s in self.stages)


class StagedSpace(ProductSpace[StagedArch]):
    """A space whose genes are the stem's width and, stage by stage, the entries of `pattern`.

    Attributes:
        pattern: The text of a stage; its groups are named as the entries of `Stage`.
        stem: See `diswot.models.resnet.StagedNetwork`.
    """

    pattern: re.Pattern[str]
    stem = "small"

    @property
    def embedding_width(self) -> int | None:
        """None, as the last stage's width is a choice; the width where only one is allowed."""
        widths = self.genes[-1].choices
        return int(widths[0]) if len(widths) == 1 else None

    def from_values(self, values: Sequence[Value]) -> StagedArch:
        """See `ProductSpace`."""
        stem, *rest = values
        entries = self.pattern.groupindex
        rows = zip(*[iter(rest)] * len(entries), strict=True)
        stages: Any = (Stage(**dict(zip(entries, row, strict=True))) for row in rows)
        return StagedArch(int(stem), tuple(stages), self.name)

    def values(self, arch: StagedArch) -> tuple[Value, ...]:
        """See `ProductSpace`."""
        entries = self.pattern.groupindex
        return (arch.stem, *(getattr(stage, entry) for stage in arch.stages for entry in entries))

    def read(self, text: str) -> StagedArch | None:
        """The architecture of a text of the space's form, its values unchecked; else None."""
        prefix, _, rest = text.partition(":")
        stem, *stages = rest.split("/")
        matches = [match for stage in stages if (match := self.pattern.fullmatch(stage))]
        if prefix != self.name or not re.fullmatch(r"\d{1,9}", stem) or len(matches) != len(stages):
            return None
        blocks = {letter: block for block, letter in _LETTERS.items()}
        groups = [group for match in matches for group in match.groups()]
        return self.from_values([int(stem), *(blocks.get(group) or int(group) for group in groups)])

    def parse(self, text: str) -> StagedArch:
        """Read the text form; UserError for another one or a value that is not a choice."""
        arch = self.read(text)
        if arch is None:
            raise self.not_read(text)
        own, given = len(self.example.stages), len(arch.stages)
        if given != own:
            raise UserError(f"arch {text!r} has {given} stages; space {self.name} has {own}")
        return self.checked(arch, text)

    def prefixes(self, arch: StagedArch) -> list[Hashable]:
        """See `Space`."""
        return [
            (arch.stem, *arch.stages[:number], stage._replace(depth=block))
            for number, stage in enumerate(arch.stages)
            for block in range(1, stage.depth + 1)
        ]

    def cost(self, arch: StagedArch, *, num_classes: int, image: tuple[int, int, int]) -> Cost:
        """See `Space`."""
        from diswot.models.formula import staged_cost

        return staged_cost(arch.stem, _blocks(arch), num_classes, image, self.stem)

    def build(
        self,
        arch: StagedArch,
        *,
        num_classes: int,
        in_channels: int = 3,
        parts: PartMaker | None = None,
    ) -> nn.Module:
        """See `Space`."""
        from diswot.models.resnet import StagedNetwork

        shape = (arch.stem, _blocks(arch), num_classes, in_channels)
        return StagedNetwork(*shape, stem=self.stem, parts=parts)


def _blocks(arch: StagedArch) -> list[Blocks]:
    """The stages as networks have them: all but the first halve the map."""
    from diswot.models.resnet import BLOCKS, Blocks

    return [
        Blocks(BLOCKS[s.block], s.depth, s.width, 2 if number else 1, s.kernel, s.middle)
        for number, s in enumerate(arch.stages)
    ]


class S1(StagedSpace):
    """The CIFAR space of DisWOT's main search.

    Three stages of residual blocks after a 3×3 stem; the second and the third halve the map.
    Every shape-changing shortcut is a 1×1 convolution with BatchNorm.

    Source: Dong et al., CVPR 2023, search space S1, whose blocks are those of ZenNAS
    (Lin et al., ICCV 2021).

    Args:
        blocks, kernels: Allowed block types, of ``basic`` and ``bottleneck``, and odd kernel sizes.
        max_depth: Most blocks of a stage; the least is one.
        max_stem, max_widths: Widest stem, and widest output (and middle) of each stage.
        width_step: All widths are multiples of it, and it is the narrowest.
    """

    pattern = re.compile(
        r"(?P<block>[bn])(?P<kernel>\d{1,9})x(?P<depth>\d{1,9})-(?P<middle>\d{1,9})-(?P<width>\d{1,9})"
    )

    def __init__(
        self,
        *,
        blocks: Sequence[str],
        kernels: Sequence[int],
        max_depth: int,
        max_stem: int,
        max_widths: Sequence[int],
        width_step: int,
        **space: Any,
    ) -> None:
        for block in blocks:
            choice("space.blocks", block, _LETTERS)
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
        super().__init__(genes=genes, **space)


def odd(kernels: Sequence[int]) -> tuple[int, ...]:
    """The kernel sizes of a setting ``space.kernels``; UserError for one that is not odd."""
    for kernel in kernels:
        if whole("space.kernels", kernel, 1) % 2 == 0:
            raise UserError(f"space.kernels: {kernel} is even; only odd kernels keep the size")
    return tuple(map(int, kernels))
