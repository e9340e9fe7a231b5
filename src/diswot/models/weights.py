"""Loading trained weights into a network, from files and tags, without ever running their code."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from safetensors.torch import load
from torch import Tensor, nn

from diswot.data import read_asset
from diswot.errors import UserError
from diswot.models._checkpoint import SUFFIXES, one_line, read_file, state_dict_of
from diswot.models.adapter import AdaptedNetwork, nearest
from diswot.models.outputs import Network

__all__ = ["WEIGHTS_FILE", "embedded_names", "identified", "load_weights"]

WEIGHTS_FILE = "student.safetensors"
"""What a run of ``diswot train`` calls the weights of its student."""

_PREFIXES = ("module.", "model.")
_CLASSIFIERS = ("linear", "classifier", "head", "fc")
_CRD_NAMES = (
    (r"\.downsample\.0\.", ".shortcut.conv."),
    (r"\.downsample\.1\.", ".shortcut.bn."),
    (r"\.convShortcut\.", ".shortcut."),
    (r"^block(\d)\.layer\.", r"layer\1."),
)
"""What CRD's networks call a part, and its name here."""


def load_weights(
    network: nn.Module,
    weights: str,
    *,
    name: str,
    setting: str = "teacher.weights",
    node: str = "teacher.network",
) -> None:
    """Load trained weights into a network, in place and all of them or none.

    Checkpoints wrapped in ``state_dict`` or ``model``, names that begin with ``module.`` or
    ``model.``, a classifier named ``linear``, ``classifier``, ``head`` or ``fc``, and the names of
    CRD's networks (projection shortcuts ``downsample.0`` and ``.1``, ``block1.layer.0`` and
    ``convShortcut`` of wide ResNets) are understood.

    Args:
        network: A :class:`~diswot.models.outputs.Network`.
        weights: ``none`` (leave it as it is), ``embedded`` (shipped with the package), the path
            of a ``.pt``, ``.pth``, ``.bin`` or ``.safetensors`` file or of a run directory of
            ``diswot train``, or, for networks of torchvision and timm, a tag of theirs such as
            ``IMAGENET1K_V1``.
        name: The network's name: which embedded weights are meant, and for messages.
        setting: Where ``weights`` stands in the config, for messages.
        node: Where the settings of the network stand, for messages.

    Raises:
        UserError: For a file or tag that does not exist or cannot be read, that holds anything
            but tensors, or that does not fit the network.
    """
    if weights == "none":
        return
    try:
        state = _renamed(state_dict_of(_read(network, weights, name), weights), network)
        _check_classes(state, network, weights)
        _check_fit(state, network, weights, node)
    except UserError as error:
        raise UserError(f"{setting}: {error}") from None
    network.load_state_dict(state)


def identified(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a network with the sha256 of the file its weights come from, if one does.

    So a run goes on only with the teacher it began with, and its record says which that was.

    Args:
        spec: With ``weights``, see :func:`load_weights`; a file that is not there is not named.
    """
    path = Path(str(spec["weights"])).expanduser()
    path = path / WEIGHTS_FILE if path.is_dir() else path
    if not path.is_file():
        return dict(spec)
    return {**spec, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def _read(network: nn.Module, weights: str, name: str) -> object:
    if weights == "embedded":
        return _read_embedded(name)
    path = Path(weights).expanduser()
    if path.is_dir():
        return read_file(_in_run(path))
    if path.is_file():
        return read_file(path)
    if path.suffix in SUFFIXES or len(path.parts) > 1:
        raise UserError(f"there is no file {weights}")
    return _fetch(network, weights, name)


def _in_run(run: Path) -> Path:
    if not (run / WEIGHTS_FILE).is_file():
        raise UserError(
            f"the folder {run} holds no {WEIGHTS_FILE}; give a run directory of diswot train that "
            "has finished, or a file"
        )
    return run / WEIGHTS_FILE


def embedded_names() -> list[str]:
    """The networks whose weights come with the package, trained for its images."""
    assets = resources.files("diswot") / "assets"
    files = assets.iterdir() if assets.is_dir() else ()
    return sorted(Path(file.name).stem for file in files if file.name.endswith(".safetensors"))


def _read_embedded(name: str) -> object:
    embedded = embedded_names()
    if name not in embedded:
        raise UserError(
            f"embedded has no weights for {name!r}; embedded are: {', '.join(embedded) or 'none'}"
        )
    return load(read_asset(f"{name}.safetensors", resources.files("diswot") / "assets"))


def _fetch(network: nn.Module, tag: str, name: str) -> Mapping[str, Tensor]:
    source = network.source if isinstance(network, AdaptedNetwork) else None
    tags = source.tags() if source else ()
    if source is None or tag not in tags:
        known = nearest(tag, tags, count=10) or "none"
        raise UserError(
            f"{tag!r} is not none, embedded or an existing file, nor a tag of "
            f"{name}; its tags: {known}"
        )
    try:
        return source.fetch(tag)
    except OSError as error:
        raise UserError(f"{tag} failed to download ({one_line(error)})") from None


def _renamed(state: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """The same tensors under the names the network uses."""
    own = network.state_dict().keys()
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in state) and not own & state.keys():
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    for pattern, new in _CRD_NAMES:
        if not any(re.search(pattern, name) for name in own):
            state = {re.sub(pattern, new, name): value for name, value in state.items()}
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
        raise UserError(f"{weights} classifies {rows.shape[0]} classes, num_classes is {expected}")


def _check_fit(state: Mapping[str, Tensor], network: nn.Module, weights: str, node: str) -> None:
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
        hint = f"; try {node}.shortcut=A or B" if shortcuts else ""
        raise UserError(f"{weights} does not fit the network: it {'; '.join(problems)}{hint}")


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
