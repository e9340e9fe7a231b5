"""Images of a size and normalisation of a network's own, made of those it is given."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diswot.checks import per_channel, whole
from diswot.data.base import EvalTransform
from diswot.errors import UserError
from diswot.models.outputs import Network, NetworkOutputs
from diswot.models.shared import SharedModule
from diswot.models.zoo import timm_input

_KEYS = ("image_size", "mean", "std")


def own_input(spec: Mapping[str, Any], given: EvalTransform) -> EvalTransform:
    """What the images of a teacher are like: ``given``, but for what its ``input`` says.

    ``spec`` is a teacher's node. Its ``input`` is ``timm``, for that of the model's published
    weights, or holds some of ``image_size`` in pixels, and ``mean`` and ``std`` of the channels in
    [0, 1].

    Raises:
        UserError: A setting that is unknown or not allowed.
    """
    node, setting = spec.get("input") or {}, "teacher.input"
    if node == "timm":
        model = (spec.get("network") or {}).get("model")
        if model is None:
            raise UserError(f"{setting}=timm: {spec['name']} is no model of timm; give its values")
        node = timm_input(str(model))
    if not isinstance(node, Mapping) or (unknown := {*node} - {*_KEYS}):
        problem = f"{node}" if not isinstance(node, Mapping) else ", ".join(sorted(unknown))
        raise UserError(f"{setting}: {problem} is not known; give timm, or {', '.join(_KEYS)}")
    made: dict[str, Any] = {}
    if node.get("image_size") is not None:
        made["image_size"] = whole(f"{setting}.image_size", node["image_size"], 8)
    for key in ("mean", "std"):
        if node.get(key) is not None:
            channels, positive = len(given.mean), key == "std"
            made[key] = per_channel(f"{setting}.{key}", node[key], channels, positive=positive)
    return replace(given, **made)


class OwnInput(SharedModule):
    """A `Network` that is given images made for another one, and changes them to its own.

    They are resized (bilinear, with antialiasing where they shrink) and normalised anew:
    ``(x · std + mean − own mean) / own std``, of the channels of [0, 1]. Names are those of the
    network, see `SharedModule`.

    Args:
        network: Takes images as ``own`` describes them.
        given: What the images are like that come in.
    """

    def __init__(self, network: nn.Module, given: EvalTransform, own: EvalTransform) -> None:
        super().__init__(network)
        self._size = own.image_size
        channels = list(zip(given.mean, given.std, own.mean, own.std, strict=True))
        self._scale = [std / own_std for _, std, _, own_std in channels]
        self._shift = [(mean - own_mean) / own_std for mean, _, own_mean, own_std in channels]
        self._normalises = (given.mean, given.std) != (own.mean, own.std)

    @property
    def classifier(self) -> nn.Linear:
        """See `Network`."""
        return cast(Network, self._model).classifier

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(B, K)`` of ``(B, C, H, W)`` images."""
        return cast(Tensor, self._model(self._own(images)))

    def outputs(self, images: Tensor) -> NetworkOutputs:
        """See `Network`."""
        return cast(Network, self._model).outputs(self._own(images))

    def _own(self, images: Tensor) -> Tensor:
        size = (self._size, self._size)
        if images.shape[2:] != size:
            images = F.interpolate(images, size, mode="bilinear", antialias=True)
        if self._normalises:
            scale, shift = (
                torch.tensor(each, dtype=images.dtype, device=images.device)[:, None, None]
                for each in (self._scale, self._shift)
            )
            images = images * scale + shift
        return images
