"""The PiT space of Auto-Prox: vision transformers of three stages with pooling between them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from math import prod
from random import Random
from typing import TYPE_CHECKING, Any

from diswot.checks import whole
from diswot.errors import UserError
from diswot.spaces.base import Gene, ProductSpace, SpaceSize, Value

if TYPE_CHECKING:
    from torch import nn

    from diswot.models.outputs import Cost
    from diswot.models.transformers import BlockShape

STRIDE = 8  # patches that overlap by half


@dataclass(frozen=True)
class PiTArch:
    """Channels a head, MLP ratio, depth and heads of each stage; text ``pit:24/4/2x2-8x4-4x8``."""

    head_width: int
    mlp_ratio: int
    stages: tuple[tuple[int, int], ...]
    space: str = "pit"

    def __str__(self) -> str:
        stages = "-".join(f"{depth}x{heads}" for depth, heads in self.stages)
        return f"{self.space}:{self.head_width}/{self.mlp_ratio}/{stages}"


class PiT(ProductSpace[PiTArch]):
    """Transformers of patches that overlap, in stages whose width is heads times channels a head.

    Between two stages a strided depthwise 3×3 convolution halves the map and multiplies the
    channels by the ratio of the heads, which is a whole number. The networks that Auto-Prox trained
    classify by a class token that linear layers widen between the stages; these have none and
    classify the mean of the patches, as all networks here do. Their images have 224 pixels.

    Source: Wei et al., "Auto-Prox", AAAI 2024; the networks are those of Heo et al., "Rethinking
    Spatial Dimensions of Vision Transformers", ICCV 2021.

    Args:
        head_widths, mlp_ratios: Allowed channels a head, and MLP widths over the block's.
        depths: Allowed numbers of blocks, stage by stage.
        heads: Allowed in every stage; members are those where each stage's are a multiple of the
            heads of the stage before.
    """

    def __init__(
        self,
        *,
        head_widths: Sequence[int],
        mlp_ratios: Sequence[int],
        depths: Sequence[Sequence[int]],
        heads: Sequence[int],
        **space: Any,
    ) -> None:
        if not depths:
            raise UserError("space.depths=[]: give the allowed depths of at least one stage")

        def gene(name: str, setting: str, values: Sequence[int]) -> Gene:
            choices = tuple(whole(f"space.{setting}", value, 1) for value in values)
            return Gene(name, choices, ordered=True)

        genes = [
            gene("channels a head", "head_widths", head_widths),
            gene("MLP ratio", "mlp_ratios", mlp_ratios),
        ]
        for stage, of_stage in enumerate(depths, start=1):
            genes.append(gene(f"depth of stage {stage}", "depths", of_stage))
            genes.append(gene(f"heads of stage {stage}", "heads", heads))
        super().__init__(genes=genes, **space)

    @property
    def size(self) -> SpaceSize:
        """Exact: all but the heads, times the heads that are allowed together."""
        heads = [gene.choices for gene in self.genes[3::2]]
        allowed = sum(_multiples([int(n) for n in several]) for several in product(*heads))
        free = (*self.genes[:2], *self.genes[2::2])
        return SpaceSize(prod(len(gene.choices) for gene in free) * allowed)

    @property
    def embedding_width(self) -> int | None:
        """None, as the last stage's width is a choice; the width where only one is allowed."""
        widths = {int(a) * int(b) for a in self.genes[0].choices for b in self.genes[-1].choices}
        return widths.pop() if len(widths) == 1 else None

    def from_values(self, values: Sequence[Value]) -> PiTArch:
        """See `ProductSpace`."""
        head_width, mlp_ratio, *rest = map(int, values)
        return PiTArch(
            head_width, mlp_ratio, tuple(zip(rest[::2], rest[1::2], strict=True)), self.name
        )

    def values(self, arch: PiTArch) -> tuple[Value, ...]:
        """See `ProductSpace`."""
        return (
            arch.head_width,
            arch.mlp_ratio,
            *(value for stage in arch.stages for value in stage),
        )

    def allows(self, arch: PiTArch) -> bool:
        """Whether each stage's heads are a multiple of those before."""
        return _multiples([heads for _, heads in arch.stages])

    def mutate(self, arch: PiTArch, rng: Random) -> PiTArch:
        """Change one gene, drawn uniformly among those that lead to another member."""
        values, choices = self.values(arch), list[list[PiTArch]]()
        for place, gene in enumerate(self.genes):
            near = [
                self.from_values([*values[:place], value, *values[place + 1 :]])
                for value in gene.neighbours(values[place])
            ]
            if allowed := list(filter(self.allows, near)):
                choices.append(allowed)
        if not choices:
            raise UserError(f"space={self.name}: {arch} has no neighbour: nothing to mutate")
        return rng.choice(rng.choice(choices))

    def parse(self, text: str) -> PiTArch:
        """Read the text form; UserError for another one or a value that is not a choice."""
        stages = "-".join([r"(\d{1,9})x(\d{1,9})"] * (len(self.genes) // 2 - 1))
        match = re.fullmatch(rf"{re.escape(self.name)}:(\d{{1,9}})/(\d{{1,9}})/{stages}", text)
        if match is None:
            raise self.not_read(text)
        arch = self.checked(self.from_values([int(group) for group in match.groups()]), text)
        if not self.allows(arch):
            raise UserError(
                f"arch {text!r}: the heads of a stage are no multiple of those before it"
            )
        return arch

    def cost(self, arch: PiTArch, *, num_classes: int, image: tuple[int, int, int]) -> Cost:
        """See `Space`."""
        from diswot.models.formula import transformer_cost

        return transformer_cost(_shapes(arch), STRIDE, num_classes, image)

    def build(self, arch: PiTArch, *, num_classes: int, in_channels: int = 3) -> nn.Module:
        """See `Space`."""
        from diswot.models.transformers import PatchTransformer

        return PatchTransformer(_shapes(arch), STRIDE, num_classes, in_channels)


def _multiples(heads: Sequence[int]) -> bool:
    return all(after % before == 0 for before, after in pairwise(heads))


def text_of(row: Mapping[str, Any]) -> str:
    """The text of an architecture in Auto-Prox's tables.

    It has the keys ``base_dim``, ``mlp_ratio`` and, with an entry a stage, ``depth`` and
    ``num_heads``. ValueError where their lengths differ.
    """
    stages = zip(map(int, row["depth"]), map(int, row["num_heads"]), strict=True)
    return str(PiTArch(int(row["base_dim"]), int(row["mlp_ratio"]), tuple(stages)))


def _shapes(arch: PiTArch) -> list[list[BlockShape]]:
    from diswot.models.transformers import BlockShape

    return [
        [BlockShape(arch.head_width * heads, heads, arch.mlp_ratio)] * depth
        for depth, heads in arch.stages
    ]
