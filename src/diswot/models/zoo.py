"""Adapted networks of torchvision and timm, and their published weights."""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from importlib import import_module
from typing import Any, cast

import torch
from torch import Tensor, nn

from diswot import _torchvision
from diswot.errors import UnfitError, UserError
from diswot.models.adapter import AdaptedNetwork, nearest
from diswot.models.finding import Parts, find_parts

REFUSALS = (
    *(AssertionError, AttributeError, LookupError, NotImplementedError, RuntimeError),
    *(TypeError, ValueError),
)
"""Errors of models of timm that cannot be built, or run, in the way that is asked."""


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
    model: str,
    stages: list[str] | None = None,
    classifier: str | None = None,
    *,
    num_classes: int = 1000,
    in_channels: int = 3,
    image_size: int | None = None,
) -> AdaptedNetwork:
    """An untrained classifier of timm (the extra ``diswot[timm]``), see `AdaptedNetwork`.

    Stages and classifier are found where they are not named, see `timm_parts`. A weight tag after a
    dot of ``model`` is not needed here. ``image_size`` in pixels is for models that timm builds for
    one size; None leaves their own.

    Raises:
        UserError: Without timm, or for an unknown model or path.
        UnfitError: The model has no parts to find, or does not run on such images.
    """
    name = timm_name(model)
    if image_size is not None:
        _check_size(name, image_size)
    if not (stages and classifier):
        found = timm_parts(name)
        stages, classifier = stages or list(found.stages), classifier or found.classifier
    network = timm_model(name, num_classes, in_channels, image_size)
    return AdaptedNetwork(network, stages, classifier, source=TimmSource(name))


def timm_name(model: str) -> str:
    """The name without tag of a model of timm; UserError for an unknown one."""
    timm, name = _timm(), model.partition(".")[0]
    if not timm.is_model(name):
        allowed = nearest(name, timm.list_models())
        raise UserError(f"network.model: timm has no {model!r}; nearest: {allowed}")
    return name


def timm_names(patterns: Sequence[str], *, pretrained_only: bool = False) -> list[str]:
    """The models that a pattern names; UserError where there is none, or for an unknown name."""
    timm = _timm()
    names = timm.list_models()
    if pretrained_only:
        published = {name.partition(".")[0] for name in timm.list_pretrained()}
        names = [name for name in names if name in published]
    for pattern in patterns:
        if pattern not in names and not set("*?[") & set(pattern):
            allowed = nearest(pattern, names)
            raise UserError(f"space.models: timm has no {pattern!r}; nearest: {allowed}")
    chosen = [name for name in names if any(fnmatchcase(name, each) for each in patterns)]
    if not chosen:
        raise UserError(f"space.models={list(patterns)}: none of timm's {len(names)} models is so")
    return chosen


def is_timm(name: str) -> bool:
    """Whether it is the name of a model of timm, without a tag."""
    return "." not in name and bool(_timm().is_model(name))


def timm_version() -> str:
    """The version of timm that is installed."""
    return str(_timm().__version__)


def timm_family(name: str) -> str:
    """The module of timm that defines a model."""
    return str(_timm().model_entrypoint(name).__module__)


def timm_model(
    name: str, num_classes: int, in_channels: int = 3, image_size: int | None = None
) -> nn.Module:
    """A model of timm as it is, untrained and without dropout; sizes are as in `timm_network`.

    What timm refuses raises an error of its own, one of `REFUSALS`.
    """
    create = _timm().create_model
    sizes: dict[str, Any] = {"num_classes": num_classes, "in_chans": in_channels}
    try:
        network = create(name, **sizes, **({"img_size": image_size} if image_size else {}))
    except TypeError as error:
        if "img_size" not in str(error):
            raise
        network = create(name, **sizes)  # of any size
    if hasattr(network, "drop_rate"):
        network.drop_rate = 0.0  # networks are scored in training mode and draw nothing
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif hasattr(module, "drop_prob"):  # timm's DropPath
            module.drop_prob = 0.0
    return cast(nn.Module, network)


@lru_cache(maxsize=4096)
@torch.no_grad()
def _check_size(name: str, side: int) -> None:
    """Refuse images of a size with which a model cannot be built, or does not run, on meta."""
    try:
        with torch.device("meta"):
            timm_model(name, 2, image_size=side).eval()(torch.empty(2, 3, side, side))
    except REFUSALS as error:
        own = own_size(name)
        raise UnfitError(
            f"network.model: timm's {name} does not run on images of {side}×{side} "
            f"({_reason(error)}); its own are of {own}: data.image_size={own}"
        ) from None


def own_size(name: str) -> int:
    """Side in pixels of the images that a model of timm was made for."""
    return int(_timm().get_pretrained_cfg(name).input_size[-1])


def timm_state(model: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """A state dict that does not fit a model of timm, as timm itself makes it fit.

    Its families convert the names of original checkpoints, such as DINOv2's, and resample position
    embeddings that were learned for images of another size. What they cannot convert is unchanged.
    """
    own = model.state_dict()
    if all(name in state and state[name].shape == value.shape for name, value in own.items()):
        return state
    convert = getattr(import_module(type(model).__module__), "checkpoint_filter_fn", None)
    with suppress(*REFUSALS):
        return cast("Mapping[str, Tensor]", convert(dict(state), model)) if convert else state
    return state


def timm_resampled(given: Mapping[str, Tensor], converted: Mapping[str, Tensor]) -> str | None:
    """Which kernel `timm_state` changed in size, in words; None where there is none.

    Besides position embeddings timm resamples patch embeddings, which would make the weights of one
    model those of another. Names may differ and kernels be flattened, so sizes are counted: that
    kernel has a number of values that more tensors have now than before.
    """
    before = Counter(value.numel() for value in given.values())
    after = Counter(value.numel() for value in converted.values())
    for name, value in converted.items():
        kernel = value.ndim == 4 and "pos" not in name
        if kernel and after[value.numel()] > before[value.numel()]:
            theirs = f" instead of {tuple(given[name].shape)}" if name in given else ""
            return f"{name} would be resampled to {tuple(value.shape)}{theirs}"
    return None


def timm_input(model: str) -> dict[str, Any]:
    """Size in pixels, mean and deviation of the images that a model of timm was trained with.

    They are those of its published weights, of the first where ``model`` names no tag.
    """
    timm_name(model)
    published = _timm().get_pretrained_cfg(model)
    own = {"mean": list(published.mean), "std": list(published.std)}
    return {"image_size": int(published.input_size[-1]), **own}


@lru_cache(maxsize=4096)
def timm_parts(name: str) -> Parts:
    """Stages, at most four, and classifier of a model of timm; it is run on the meta device.

    Stages are those modules of timm's ``feature_info`` that `find_parts` takes, the last four.

    Raises:
        UnfitError: Its logits are not those of one linear layer, or it has no maps.
    """
    try:
        with torch.device("meta"):
            network = timm_model(name, 2).eval()
            images = torch.empty(2, 3, own_size(name), own_size(name))
        found = find_parts(network, images, _features(network))
        if not found.stages:
            raise UserError("none of its modules gives square maps")
    except UserError as error:
        heads = ""
        if hasattr(network, "head_dist"):
            heads = ": it has two heads, one for a teacher's labels, whose logits it averages"
        raise UnfitError(f"network.model: timm's {name} cannot be used: {error}{heads}") from None
    except REFUSALS as error:
        raise UnfitError(f"network.model: timm's {name} does not run: {_reason(error)}") from None
    return Parts(found.stages[-4:], found.classifier)


def _features(network: Any) -> list[str]:
    """The modules that timm says give the features of a model."""
    infos = getattr(network, "feature_info", None) or []
    infos = infos.info if hasattr(infos, "info") else infos
    return [str(info["module"]) for info in infos if isinstance(info, dict) and "module" in info]


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


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
