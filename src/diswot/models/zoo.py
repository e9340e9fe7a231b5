"""Adapted networks of torchvision and timm, and their published weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, nn

from diswot import _torchvision
from diswot.errors import UserError
from diswot.models.adapter import AdaptedNetwork, nearest


@dataclass(frozen=True)
class TorchvisionSource:
    """Published weights of a torchvision classifier, such as ``IMAGENET1K_V1``."""

    model: str

    def tags(self) -> Sequence[str]:
        """See `WeightSource`."""
        published = _torchvision_models().get_model_weights(self.model)
        return tuple(weights.name for weights in published)

    def fetch(self, tag: str) -> Mapping[str, Tensor]:
        """See `WeightSource`."""
        weights = _torchvision_models().get_model_weights(self.model)[tag]
        return cast(Mapping[str, Tensor], weights.get_state_dict(progress=False, check_hash=True))


@dataclass(frozen=True)
class TimmSource:
    """Published weights of a timm model, such as ``a1_in1k``."""

    model: str

    def tags(self) -> Sequence[str]:
        """See `WeightSource`; what follows the dot in timm's names of pretrained models."""
        names = _timm().list_pretrained(f"{self.model}.*")
        return tuple(name.partition(".")[2] for name in names)

    def fetch(self, tag: str) -> Mapping[str, Tensor]:
        """See `WeightSource`."""
        model = _timm().create_model(f"{self.model}.{tag}", pretrained=True)
        return cast(Mapping[str, Tensor], model.state_dict())


def torchvision_network(
    model: str, stages: list[str], classifier: str, num_classes: int = 1000, in_channels: int = 3
) -> AdaptedNetwork:
    """An untrained classifier of ``torchvision.models``, see `AdaptedNetwork`.

    ``in_channels`` other than 3 replaces the first convolution.

    Raises:
        UserError: For an unknown model or path.
    """
    models = _torchvision_models()
    names = models.list_models(module=models)
    if model not in names:
        raise UserError(
            f"network.model: torchvision has no {model!r}; nearest: {nearest(model, names)}"
        )
    network = models.get_model(model, weights=None, num_classes=num_classes)
    if in_channels != 3:
        path, conv = next((p, m) for p, m in network.named_modules() if isinstance(m, nn.Conv2d))
        same: Any = {name: getattr(conv, name) for name in ("kernel_size", "stride", "padding")}
        first = nn.Conv2d(in_channels, conv.out_channels, **same, bias=conv.bias is not None)
        network.set_submodule(path, first)
    return AdaptedNetwork(network, stages, classifier, source=TorchvisionSource(model))


def timm_network(
    model: str, stages: list[str], classifier: str, num_classes: int = 1000, in_channels: int = 3
) -> AdaptedNetwork:
    """An untrained classifier of timm (the extra ``diswot[timm]``); see `torchvision_network`.

    A weight tag after a dot of ``model`` is not needed here.

    Raises:
        UserError: Without timm, or for an unknown model or path.
    """
    timm, name = _timm(), model.partition(".")[0]
    if not timm.is_model(name):
        allowed = nearest(name, timm.list_models())
        raise UserError(f"network.model: timm has no {model!r}; nearest: {allowed}")
    network = timm.create_model(name, num_classes=num_classes, in_chans=in_channels)
    return AdaptedNetwork(network, stages, classifier, source=TimmSource(name))


def _torchvision_models() -> Any:
    _torchvision.ensure()
    from torchvision import models

    return models


def _timm() -> Any:
    _torchvision.ensure()
    try:
        import timm
    except ModuleNotFoundError as error:
        if error.name != "timm":
            raise
        raise UserError("network: timm is not installed; pip install 'diswot[timm]'") from None
    return timm
