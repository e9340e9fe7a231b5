"""Networks of stacked cells: the skeleton of NAS-Bench-201."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from diswot.errors import UserError
from diswot.models.layers import convolution
from diswot.models.outputs import NetworkOutputs, PooledNetwork
from diswot.models.parts import PartMaker, new_part


class ReluConvBn(nn.Sequential):
    """ReLU, K x K convolution, BatchNorm."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        conv = convolution(in_channels, out_channels, kernel, stride)
        super().__init__(OrderedDict(relu=nn.ReLU(), conv=conv, bn=nn.BatchNorm2d(out_channels)))


_OPERATIONS: dict[str, Callable[[int], nn.Module]] = {
    "skip_connect": lambda width: nn.Identity(),
    "nor_conv_1x1": lambda width: ReluConvBn(width, width, 1),
    "nor_conv_3x3": lambda width: ReluConvBn(width, width, 3),
    "avg_pool_3x3": lambda width: nn.AvgPool2d(3, 1, 1, count_include_pad=False),
}


def edges() -> Iterator[tuple[int, int]]:
    """Pairs (from, to) of a cell's nodes in the order in which operations are given."""
    return ((source, target) for target in range(1, 4) for source in range(target))


class Cell(nn.Module):
    """Four nodes, each the sum of the outputs of the operations on its incoming edges.

    The first node is the input, the last one the output. The modules are named by their edge,
    such as ``edge_0_1``. Operations are ``none skip_connect nor_conv_1x1 nor_conv_3x3
    avg_pool_3x3``, one an edge in the order of :func:`edges`. ``none`` has no module and is left
    out of the sum; a node that gets nothing is zero. All others run, those that do not reach the
    output too.

    ``name`` is that of the cell in a network whose ``parts`` are kept.

    Raises:
        UserError: For other operations.
    """

    def __init__(
        self, operations: Sequence[str], width: int, name: str = "", parts: PartMaker | None = None
    ) -> None:
        super().__init__()
        pairs, parts = list(edges()), parts or new_part
        if set(operations) - {"none", *_OPERATIONS} or len(operations) != len(pairs):
            allowed = f"{len(pairs)} of none, {', '.join(_OPERATIONS)}"
            raise UserError(f"network.operations: {list(operations)} must be {allowed}")
        self._sources: list[list[int]] = [[] for _ in range(1 + max(pairs)[1])]
        for (source, target), operation in zip(pairs, operations, strict=True):
            if operation != "none":
                self._sources[target].append(source)
                edge, make = f"edge_{source}_{target}", _OPERATIONS[operation]
                self.add_module(edge, parts(f"{name}.{edge}", make, width))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, width, H, W)`` to the same shape."""
        nodes, pooled = [x], dict[int, Tensor]()
        for target, sources in enumerate(self._sources[1:], start=1):
            terms = []
            for source in sources:
                operation = self.get_submodule(f"edge_{source}_{target}")
                if isinstance(operation, nn.AvgPool2d):  # once for all edges that leave a node
                    if source not in pooled:
                        pooled[source] = operation(nodes[source])
                    terms.append(pooled[source])
                else:
                    terms.append(cast(Tensor, operation(nodes[source])))
            nodes.append(sum(terms[1:], terms[0]) if terms else torch.zeros_like(x))
        return nodes[-1]


class DownBlock(nn.Module):
    """The residual block between two stages: halves the map and widens it.

    The shortcut is 2 x 2 average pooling, which rounds odd sizes up as the strided convolution
    does, and a 1 x 1 convolution without BatchNorm.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv_a = ReluConvBn(in_channels, out_channels, 3, stride=2)
        self.conv_b = ReluConvBn(out_channels, out_channels, 3)
        projection = convolution(in_channels, out_channels, 1)
        self.shortcut = nn.Sequential(nn.AvgPool2d(2, 2, ceil_mode=True), projection)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in_channels, H, W)`` to ``(B, out_channels, H/2, W/2)``."""
        return cast(Tensor, self.conv_b(self.conv_a(x)) + self.shortcut(x))


class CellNetwork(PooledNetwork):
    """Stem, stages of equal cells with a `DownBlock` between them, BN-ReLU, classifier.

    Its parts are ``conv1 bn1 cells bn2 relu fc``; ``cells`` numbers cells and down blocks in one
    row. With five ``cells`` a stage and ``widths`` 16, 32, 64, of which the stem has the first,
    this is the network of NAS-Bench-201.

    Source: Dong and Yang, "NAS-Bench-201: Extending the Scope of Reproducible Neural
    Architecture Search", ICLR 2020, section 2.1.
    """

    def __init__(
        self,
        operations: Sequence[str],
        widths: Sequence[int] = (16, 32, 64),
        cells: int = 5,
        num_classes: int = 10,
        in_channels: int = 3,
        *,
        parts: PartMaker | None = None,
    ) -> None:
        super().__init__()
        parts = parts or new_part
        self.conv1 = parts("conv1", convolution, in_channels, widths[0], 3)
        self.bn1 = parts("bn1", nn.BatchNorm2d, widths[0])
        self.cells = nn.ModuleList()
        for stage, width in enumerate(widths):
            if stage:
                name = f"cells.{len(self.cells)}"
                self.cells.append(parts(name, DownBlock, widths[stage - 1], width))
            for _ in range(cells):
                self.cells.append(Cell(operations, width, f"cells.{len(self.cells)}", parts))
        self.bn2 = parts("bn2", nn.BatchNorm2d, widths[-1])
        self.relu = nn.ReLU()
        self.fc = parts("fc", nn.Linear, widths[-1], num_classes)

    def outputs(self, images: Tensor) -> NetworkOutputs:
        """See `Network`.

        A stage's map is what its last cell gives, which ends in no activation; only the last
        stage ends in BatchNorm and ReLU.
        """
        x = cast(Tensor, self.bn1(self.conv1(images)))
        maps: list[Tensor] = []
        for module in self.cells:
            if isinstance(module, DownBlock):
                maps.append(x)
            x = module(x)
        before = self.bn2(x)
        return self.pooled((*maps, self.relu(before)), (*maps, before))
