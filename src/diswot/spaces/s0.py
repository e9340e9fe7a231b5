"""S0: the 64 CIFAR ResNets whose distilled accuracies DisWOT published."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Any

from diswot.checks import choice, whole
from diswot.errors import UserError
from diswot.spaces.base import Gene, ProductSpace, Value

if TYPE_CHECKING:
    from torch import nn

    from diswot.models.outputs import Cost
    from diswot.models.parts import PartMaker


@dataclass(frozen=True)
class S0Arch:
    """Residual blocks a stage; text ``s0:1-3-5``."""

    depths: tuple[int, ...]
    space: str = "s0"

    def __str__(self) -> str:
        return f"{self.space}:{'-'.join(map(str, self.depths))}"


class S0(ProductSpace[S0Arch]):
    """CIFAR ResNets of basic blocks that differ in the number of blocks a stage.

    Source: Dong et al., "DisWOT: Student Architecture Search for Distillation WithOut
    Training", CVPR 2023, search space S0.

    Args:
        depths: Allowed numbers of blocks of a stage.
        widths: Channels of the stem and of each stage.
        shortcut: Where the shape changes: ``A`` pads with zeros, ``B`` projects.
    """

    def __init__(
        self, *, depths: Sequence[int], widths: Sequence[int], shortcut: str = "B", **space: Any
    ) -> None:
        if len(widths) < 2:
            raise UserError(
                f"space.widths={list(widths)}: give the stem's and at least one stage's"
            )
        choices = tuple(whole("space.depths", depth, 1) for depth in depths)
        names = (f"depth of stage {stage}" for stage in range(1, len(widths)))
        genes = [Gene(name, choices, ordered=True) for name in names]
        super().__init__(genes=genes, **space)
        self.widths = tuple(whole("space.widths", width, 1) for width in widths)
        self.shortcut = choice("space.shortcut", shortcut, ("A", "B"))

    @property
    def embedding_width(self) -> int:
        """The last stage's width, the same for all."""
        return self.widths[-1]

    def from_values(self, values: Sequence[Value]) -> S0Arch:
        """See `ProductSpace`."""
        return S0Arch(tuple(int(value) for value in values), self.name)

    def values(self, arch: S0Arch) -> tuple[Value, ...]:
        """See `ProductSpace`."""
        return arch.depths

    def parse(self, text: str) -> S0Arch:
        """Read ``s0:1-3-5``; UserError for another form or a depth that is not a choice."""
        depths = "-".join([r"(\d{1,9})"] * len(self.genes))
        match = re.fullmatch(f"{re.escape(self.name)}:{depths}", text)
        if match is None:
            raise self.not_read(text)
        return self.checked(self.from_values(match.groups()), text)

    def prefixes(self, arch: S0Arch) -> list[Hashable]:
        """See `Space`."""
        return [
            (*arch.depths[:stage], block)
            for stage, depth in enumerate(arch.depths)
            for block in range(depth)
        ]

    def cost(self, arch: S0Arch, *, num_classes: int, image: tuple[int, int, int]) -> Cost | None:
        """See `Space`; without one for shortcuts of option ``A``."""
        from diswot.models.formula import staged_cost
        from diswot.models.resnet import BasicBlock, Blocks

        if self.shortcut != "B":
            return None
        stem, *widths = self.widths
        strides = [1, *[2] * (len(widths) - 1)]
        stages = map(Blocks, repeat(BasicBlock), arch.depths, widths, strides)
        return staged_cost(stem, [*stages], num_classes, image)

    def build(
        self,
        arch: S0Arch,
        *,
        num_classes: int,
        in_channels: int = 3,
        parts: PartMaker | None = None,
    ) -> nn.Module:
        """See `Space`."""
        from diswot.models.resnet import CifarResNet

        shape = (arch.depths, self.widths, self.shortcut)
        return CifarResNet(*shape, num_classes, in_channels, parts=parts)
