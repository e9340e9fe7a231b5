"""Loading trained weights into a network, from files and tags, without ever running their code."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from torch import Tensor, nn

from diswot.errors import UserError
from diswot.networks._checkpoint import SUFFIXES, one_line, read_file, state_dict_of
from diswot.networks.adapter import AdaptedNetwork, nearest
from diswot.networks.outputs import Network

__all__ = ["load_weights"]

_PREFIXES = ("module.", "model.")
_CLASSIFIERS = ("linear", "classifier", "head", "fc")


def load_weights(network: nn.Module, weights: str, *, teacher: str) -> None:
    """Load trained weights into a network, in place and all of them or none.

    Checkpoints wrapped in ``state_dict`` or ``model``, names that begin with ``module.`` or
    ``model.``, a classifier named ``linear``, ``classifier``, ``head`` or ``fc``, and projection
    shortcuts named ``downsample.0`` and ``.1`` (CRD) are understood.

    Args:
        network: A :class:`~diswot.networks.outputs.Network`.
        weights: ``none`` (leave it as it is), ``embedded`` (shipped with the package), the path
            of a ``.pt``, ``.pth``, ``.bin`` or ``.safetensors`` file, or, for networks of
            torchvision and timm, a tag of theirs such as ``IMAGENET1K_V1``.
        teacher: The teacher's name: which embedded weights are meant, and for messages.

    Raises:
        UserError: For a file or tag that does not exist or cannot be read, that holds anything
            but tensors, or that does not fit the network.
    """
    if weights == "none":
        return
    state = state_dict_of(_read(network, weights, teacher), weights)
    state = _renamed(state, network)
    _check_classes(state, network, weights)
    _check_fit(state, network, weights)
    network.load_state_dict(state)


def _read(network: nn.Module, weights: str, teacher: str) -> object:
    if weights == "embedded":
        return _read_embedded(teacher)
    path = Path(weights).expanduser()
    if path.is_file():
        return read_file(path)
    if path.suffix in SUFFIXES or len(path.parts) > 1:
        raise UserError(f"teacher.weights: there is no file {weights}")
    return _fetch(network, weights, teacher)


def _read_embedded(teacher: str) -> object:
    assets = resources.files("diswot") / "assets"
    files = list(assets.iterdir()) if assets.is_dir() else []
    embedded = {Path(file.name).stem: file for file in files if file.name.endswith(".safetensors")}
    if teacher not in embedded:
        raise UserError(
            f"teacher.weights: embedded has no weights for {teacher!r}; "
            f"embedded are: {', '.join(sorted(embedded)) or 'none'}"
        )
    with resources.as_file(embedded[teacher]) as path:
        return read_file(path)


def _fetch(network: nn.Module, tag: str, teacher: str) -> Mapping[str, Tensor]:
    source = network.source if isinstance(network, AdaptedNetwork) else None
    tags = source.tags() if source else ()
    if source is None or tag not in tags:
        known = nearest(tag, tags, count=10) or "none"
        raise UserError(
            f"teacher.weights: {tag!r} is not none, embedded or an existing file, nor a tag of "
            f"{teacher}; its tags: {known}"
        )
    try:
        return source.fetch(tag)
    except OSError as error:
        raise UserError(f"teacher.weights: {tag} failed to download ({one_line(error)})") from None


def _renamed(state: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """The same tensors under the names the network uses."""
    own = network.state_dict().keys()
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in state) and not own & state.keys():
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    if not any(".downsample." in name for name in own):
        for old, new in (
            (".downsample.0.", ".shortcut.conv."),
            (".downsample.1.", ".shortcut.bn."),
        ):
            state = {name.replace(old, new): value for name, value in state.items()}
    classifier = _classifier_name(network)
    if f"{classifier}.weight" not in state:
        found = next((name for name in _CLASSIFIERS if f"{name}.weight" in state), classifier)
        for parameter in ("weight", "bias"):
            if (value := state.pop(f"{found}.{parameter}", None)) is not None:
                state[f"{classifier}.{parameter}"] = value
    return state


def _check_classes(state: Mapping[str, Tensor], network: nn.Module, weights: str) -> None:
    rows = state.get(f"{_classifier_name(network)}.weight")
    expected = _classifier(network).out_features
    if rows is not None and rows.ndim == 2 and rows.shape[0] != expected:
        raise UserError(
            f"teacher.weights: {weights} classifies {rows.shape[0]} classes, "
            f"num_classes is {expected}"
        )


def _check_fit(state: Mapping[str, Tensor], network: nn.Module, weights: str) -> None:
    own = network.state_dict()
    missing = [
        name for name in own if name not in state and not name.endswith("num_batches_tracked")
    ]
    unexpected = [name for name in state if name not in own]
    reshaped = [
        f"{name} {tuple(value.shape)} instead of {tuple(own[name].shape)}"
        for name, value in state.items()
        if name in own and value.shape != own[name].shape
    ]
    problems = [
        f"{kind} {_first(names)}"
        for kind, names in (("lacks", missing), ("adds", unexpected), ("has", reshaped))
        if names
    ]
    if problems:
        shortcuts = any(".shortcut." in name for name in missing + unexpected)
        hint = "; try teacher.network.shortcut=A or B" if shortcuts else ""
        raise UserError(
            f"teacher.weights: {weights} does not fit the network: it {'; '.join(problems)}{hint}"
        )


def _classifier(network: nn.Module) -> nn.Linear:
    if not isinstance(network, Network):
        raise TypeError(f"{type(network).__name__} is no Network: it has no classifier or outputs")
    return network.classifier


def _classifier_name(network: nn.Module) -> str:
    names: dict[nn.Module, str] = {module: name for name, module in network.named_modules()}
    return names[_classifier(network)]


def _first(names: list[str], count: int = 3) -> str:
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(map(one_line, names[:count])) + more
