"""NAS-Bench-201: the 15,625 cells whose accuracies its authors published."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from diswot.checks import whole
from diswot.errors import UserError
from diswot.spaces.base import Gene, ProductSpace, Value

if TYPE_CHECKING:
    from torch import nn

    from diswot.models.parts import PartMaker

_OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
_TERM = "([a-z0-9_]+)"
CELL = re.compile(rf"\|{_TERM}~0\|\+\|{_TERM}~0\|{_TERM}~1\|\+\|{_TERM}~0\|{_TERM}~1\|{_TERM}~2\|")


@dataclass(frozen=True)
class NasBench201Arch:
    """Operations of a cell on the edges 0-1, 0-2, 1-2, 0-3, 1-3, 2-3; text as the benchmark's.

    A group for each node after the first, joined by ``+``; in it ``operation~source`` by edge.
    """

    operations: tuple[str, ...]

    def __str__(self) -> str:
        groups: dict[int, str] = {}
        for (source, target), operation in zip(EDGES, self.operations, strict=True):
            groups[target] = f"{groups.get(target, '|')}{operation}~{source}|"
        return "+".join(groups.values())


class NasBench201(ProductSpace[NasBench201Arch]):
    """Cells of four nodes in a fixed CIFAR network, one of five operations on each edge.

    Parameters are the published ones. Published FLOPs are MACs as ours, without pooling and
    BatchNorm, but count the classifier's biases too: they are ``num_classes`` more.

    Source: Dong and Yang, "NAS-Bench-201: Extending the Scope of Reproducible Neural
    Architecture Search", ICLR 2020.

    Args:
        cells: Cells of each stage; the benchmark has five.
        widths: Channels of each stage; the benchmark has 16, 32, 64.
    """

    additive = True

    def __init__(self, *, cells: int, widths: Sequence[int], **space: Any) -> None:
        if not widths:
            raise UserError("space.widths=[]: give at least one stage's")
        names = (f"operation from node {source} to {target}" for source, target in EDGES)
        genes = [Gene(name, _OPERATIONS) for name in names]
        super().__init__(genes=genes, **space)
        self.example = self.from_values(["skip_connect"] * len(EDGES))
        self.cells = whole("space.cells", cells, 1)
        self.widths = tuple(whole("space.widths", width, 1) for width in widths)

    @property
    def embedding_width(self) -> int:
        """The last stage's width, the same for all."""
        return self.widths[-1]

    def from_values(self, values: Sequence[Value]) -> NasBench201Arch:
        """See `ProductSpace`."""
        return NasBench201Arch(tuple(str(value) for value in values))

    def values(self, arch: NasBench201Arch) -> tuple[Value, ...]:
        """See `ProductSpace`."""
        return arch.operations

    def parse(self, text: str) -> NasBench201Arch:
        """Read the benchmark's notation; UserError for another form or an unknown operation."""
        match = CELL.fullmatch(text)
        if match is None:
            raise self.not_read(text)
        return self.checked(NasBench201Arch(match.groups()), text)

    def build(
        self,
        arch: NasBench201Arch,
        *,
        num_classes: int,
        in_channels: int = 3,
        parts: PartMaker | None = None,
    ) -> nn.Module:
        """See `Space`."""
        from diswot.models.cells import CellNetwork

        shape = (arch.operations, self.widths, self.cells)
        return CellNetwork(*shape, num_classes, in_channels, parts=parts)
