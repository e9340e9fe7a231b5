"""Networks of stacked cells: the skeleton of NAS-Bench-201."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from diswot.errors import UserError
from diswot.models.outputs import NetworkOutputs
from diswot.models.staged import convolution

__all__ = ["Cell", "CellNetwork", "DownBlock", "ReluConvBn", "edges"]


class ReluConvBn(nn.Module):
    """ReLU, K x K convolution, BatchNorm."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.conv = convolution(in_channels, out_channels, kernel, stride)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in_channels, H, W)`` to ``(B, out_channels, H', W')``."""
        return cast(Tensor, self.bn(self.conv(self.relu(x))))


_OPERATIONS: dict[str, Callable[[int], nn.Module]] = {
    "skip_connect": lambda width: nn.Identity(),
    "nor_conv_1x1": lambda width: ReluConvBn(width, width, 1),
    "nor_conv_3x3": lambda width: ReluConvBn(width, width, 3),
    "avg_pool_3x3": lambda width: nn.AvgPool2d(3, 1, 1, count_include_pad=False),
}


def edges(nodes: int = 4) -> Iterator[tuple[int, int]]:
    """Pairs (from, to) of a cell's nodes in the order in which operations are given."""
    return ((source, target) for target in range(1, nodes) for source in range(target))


class Cell(nn.Module):
    """Four nodes, each the sum of the outputs of the operations on its incoming edges.

    The first node is the input, the last one the output. The modules are named by their edge,
    such as ``edge_0_1``. ``none`` has no module and is left out of the sum; a node that gets
    nothing is zero. All other operations run, those that do not reach the output too.

    Args:
        operations: One of ``none skip_connect nor_conv_1x1 nor_conv_3x3 avg_pool_3x3`` an edge,
            in the order of :func:`edges`.
        width: Channels of input and output.

    Raises:
        UserError: For an unknown operation, or another number than six.
    """

    def __init__(self, operations: Sequence[str], width: int) -> None:
        super().__init__()
        pairs = list(edges())
        unknown = sorted(set(operations) - {"none", *_OPERATIONS})
        if unknown or len(operations) != len(pairs):
            raise UserError(
                f"network.operations: {list(operations)} must be {len(pairs)} of "
                f"none, {', '.join(_OPERATIONS)}"
            )
        self._sources: list[list[int]] = [[] for _ in range(1 + max(pairs)[1])]
        for (source, target), operation in zip(pairs, operations, strict=True):
            if operation != "none":
                self._sources[target].append(source)
                self.add_module(f"edge_{source}_{target}", _OPERATIONS[operation](width))

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

    The shortcut is 2 x 2 average pooling and a 1 x 1 convolution without BatchNorm; maps of odd
    size are rounded up, as the strided convolution does.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv_a = ReluConvBn(in_channels, out_channels, 3, stride=2)
        self.conv_b = ReluConvBn(out_channels, out_channels, 3)
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, 2, ceil_mode=True), convolution(in_channels, out_channels, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in_channels, H, W)`` to ``(B, out_channels, H/2, W/2)``."""
        return cast(Tensor, self.conv_b(self.conv_a(x)) + self.shortcut(x))


class CellNetwork(nn.Module):
    """Stem, stages of equal cells with a `DownBlock` between them, BN-ReLU, classifier.

    Its parts are ``conv1 bn1 cells bn2 relu fc``; ``cells`` numbers cells and down blocks in one
    row. With five cells a stage and widths 16, 32, 64 this is the network of NAS-Bench-201.

    Source: Dong and Yang, "NAS-Bench-201: Extending the Scope of Reproducible Neural
    Architecture Search", ICLR 2020, section 2.1.

    Args:
        operations: Of the cell, see `Cell`.
        widths: Channels of each stage; the stem has the first.
        cells: Cells of each stage.
        num_classes: Rows of the classifier.
        in_channels: Channels of the images.
    """

    def __init__(
        self,
        operations: Sequence[str],
        widths: Sequence[int] = (16, 32, 64),
        cells: int = 5,
        num_classes: int = 10,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        self.conv1 = convolution(in_channels, widths[0], 3)
        self.bn1 = nn.BatchNorm2d(widths[0])
        row: list[nn.Module] = []
        for stage, width in enumerate(widths):
            if stage:
                row.append(DownBlock(widths[stage - 1], width))
            row += [Cell(operations, width) for _ in range(cells)]
        self.cells = nn.ModuleList(row)
        self.bn2 = nn.BatchNorm2d(widths[-1])
        self.relu = nn.ReLU()
        self.fc = nn.Linear(widths[-1], num_classes)

    @property
    def classifier(self) -> nn.Linear:
        """The last linear layer, ``(num_classes, widths[-1])`` weights."""
        return self.fc

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(B, num_classes)`` of ``(B, in_channels, H, W)`` images."""
        return self.outputs(images).logits

    def outputs(self, images: Tensor) -> NetworkOutputs:
        """Stage maps, embedding and logits from one forward pass.

        A stage's map is what its last cell gives, which ends in no activation; only the last
        stage ends in BatchNorm and ReLU.

        Args:
            images: ``(B, in_channels, H, W)``, normalised.
        """
        x = cast(Tensor, self.bn1(self.conv1(images)))
        maps: list[Tensor] = []
        for module in self.cells:
            if isinstance(module, DownBlock):
                maps.append(x)
            x = module(x)
        before = cast(Tensor, self.bn2(x))
        last = cast(Tensor, self.relu(before))
        embedding = last.mean((2, 3))
        return NetworkOutputs((*maps, last), (*maps, before), embedding, self.fc(embedding))
