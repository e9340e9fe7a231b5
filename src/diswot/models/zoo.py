"""Adapted networks of torchvision and timm, and their published weights."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any, cast

from torch import Tensor, nn

from diswot import _torchvision
from diswot.errors import UserError
from diswot.models.adapter import AdaptedNetwork, nearest

__all__ = ["TimmSource", "TorchvisionSource", "timm_network", "torchvision_network"]


@dataclass(frozen=True)
class TorchvisionSource:
    """Published weights of a torchvision classifier, such as ``IMAGENET1K_V1``."""

    model: str

    def tags(self) -> Sequence[str]:
        """The members of the model's weights enumeration."""
        return tuple(member.name for member in self._weights())

    def fetch(self, tag: str) -> Mapping[str, Tensor]:
        """Download the weights of a tag, or take them from torch's cache; see `WeightSource`."""
        try:
            state = self._weights()[tag].get_state_dict(progress=False, check_hash=True)
        except (HTTPException, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise OSError(str(error)) from error
        return cast(Mapping[str, Tensor], state)

    def _weights(self) -> Any:
        _torchvision.ensure()
        from torchvision import models

        return models.get_model_weights(self.model)


@dataclass(frozen=True)
class TimmSource:
    """Published weights of a timm model, such as ``a1_in1k``."""

    model: str

    def tags(self) -> Sequence[str]:
        """The part of timm's pretrained model names that follows the dot."""
        names = _import_timm().list_pretrained(f"{self.model}.*")
        return tuple(name.partition(".")[2] for name in names)

    def fetch(self, tag: str) -> Mapping[str, Tensor]:
        """Download the weights of a tag, or take them from the hub's cache; see `WeightSource`."""
        try:
            model = _import_timm().create_model(f"{self.model}.{tag}", pretrained=True)
        except (HTTPException, RuntimeError) as error:
            raise OSError(str(error)) from error
        return cast(Mapping[str, Tensor], model.state_dict())


def torchvision_network(
    model: str,
    stages: Sequence[str],
    classifier: str,
    num_classes: int = 1000,
    in_channels: int = 3,
) -> AdaptedNetwork:
    """An untrained classifier of torchvision.

    Args:
        model: Name in ``torchvision.models``.
        stages: Paths of the stage modules, e.g. ``layer1``; each must give ``(B, C, H, W)``.
        classifier: Path of the last linear layer, e.g. ``fc``.
        num_classes: Rows of the classifier.
        in_channels: Channels of the images; other than 3 replaces the first convolution.

    Raises:
        UserError: For an unknown model or path.
    """
    _torchvision.ensure()
    from torchvision import models

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
    model: str,
    stages: Sequence[str],
    classifier: str,
    num_classes: int = 1000,
    in_channels: int = 3,
) -> AdaptedNetwork:
    """An untrained classifier of timm (the extra ``diswot[timm]``).

    Args:
        model: Name in timm; a weight tag after a dot is not needed here.
        stages: See :func:`torchvision_network`.
        classifier: Path of the last linear layer, e.g. ``fc`` or ``head.fc``.
        num_classes: Rows of the classifier.
        in_channels: Channels of the images.

    Raises:
        UserError: Without timm, or for an unknown model or path.
    """
    timm = _import_timm()
    name = model.partition(".")[0]
    if not timm.is_model(name):
        allowed = nearest(name, timm.list_models())
        raise UserError(f"network.model: timm has no {model!r}; nearest: {allowed}")
    network = timm.create_model(name, num_classes=num_classes, in_chans=in_channels)
    return AdaptedNetwork(network, stages, classifier, source=TimmSource(name))


def _import_timm() -> Any:
    _torchvision.ensure()
    try:
        import timm
    except ModuleNotFoundError as error:
        if error.name != "timm":
            raise
        raise UserError("network: timm is not installed; pip install 'diswot[timm]'") from None
    return timm
