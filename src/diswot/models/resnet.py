"""ResNets for small images (He et al., CVPR 2016, section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence

from diswot.errors import UserError
from diswot.models.blocks import BasicBlock
from diswot.models.staged import StagedNetwork

__all__ = ["CifarResNet"]


class CifarResNet(StagedNetwork):
    """ResNet of basic blocks; every stage but the first halves the resolution.

    ResNet-(6n+2) has depths ``n, n, n`` and widths ``16, 16, 32, 64``. CRD's ResNet-8x4 and 32x4
    (Tian et al., ICLR 2020) have depths of 1 and 5 and widths ``32, 64, 128, 256``.

    Args:
        depths: Blocks of each stage.
        widths: Channels of the stem, then of each stage.
        shortcut: ``A``, without parameters, as the CIFAR-10 networks of He et al., or ``B``, 1 x 1
            convolution and BatchNorm, as in CRD's CIFAR-100 protocol.
        num_classes: Rows of the classifier.
        in_channels: Channels of the images.

    Raises:
        UserError: Where depths and widths do not fit together or the shortcut is unknown.
    """

    def __init__(
        self,
        depths: Sequence[int],
        widths: Sequence[int],
        shortcut: str = "B",
        num_classes: int = 10,
        in_channels: int = 3,
    ) -> None:
        _check_shape(depths, widths)
        stages = [
            _stage(depth, before, width, stride=1 if index == 0 else 2, shortcut=shortcut)
            for index, (depth, before, width) in enumerate(
                zip(depths, widths[:-1], widths[1:], strict=True)
            )
        ]
        super().__init__(widths[0], stages, num_classes, in_channels)


def _stage(
    depth: int, in_channels: int, out_channels: int, *, stride: int, shortcut: str
) -> list[BasicBlock]:
    first = BasicBlock(in_channels, out_channels, stride, shortcut=shortcut)
    return [first, *(BasicBlock(out_channels, out_channels, 1) for _ in range(depth - 1))]


def _check_shape(depths: Sequence[int], widths: Sequence[int]) -> None:
    if not depths or min(depths) < 1:
        raise UserError(f"network.depths: {list(depths)} must be one number of blocks >= 1 a stage")
    if len(widths) != len(depths) + 1 or min(widths) < 1:
        raise UserError(
            f"network.widths: {list(widths)} must be {len(depths) + 1} numbers >= 1, "
            f"one for the stem and one for each of the {len(depths)} stages of network.depths"
        )
