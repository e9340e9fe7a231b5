"""Trained weights from files, run directories and tags, read without ever running their code."""

import pickle
import re
import struct
import warnings
from collections.abc import Mapping
from http.client import HTTPException
from importlib import resources
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load, load_file
from torch import Tensor, nn

from diswot.data import read_asset
from diswot.errors import UserError
from diswot.models.adapter import AdaptedNetwork, nearest
from diswot.models.outputs import Network
from diswot.models.zoo import TimmSource, timm_resampled, timm_state

EMBEDDED_FOR = "fashion_mini"  # the data that embedded weights were trained for
WEIGHTS_FILE = "student.safetensors"  # in a run directory of ``diswot train``

DAMAGED = (
    *(AssertionError, AttributeError, EOFError, LookupError, OSError, RuntimeError, TypeError),
    *(ValueError, struct.error),
)
"""Errors of ``torch.load`` for files that are cut off or damaged, seen by damaging some."""

_SUFFIXES = (".pt", ".pth", ".bin", ".safetensors")
_CLASSIFIERS = ("linear", "classifier", "head", "fc")
_CRD_NAMES = (
    (r"\.downsample\.0\.", ".shortcut.conv."),
    (r"\.downsample\.1\.", ".shortcut.bn."),
    (r"\.convShortcut\.", ".shortcut."),
    (r"^block(\d)\.layer\.", r"layer\1."),
)
"""Names of parts in CRD's networks, and their names here."""


def load_weights(
    network: nn.Module,
    weights: str,
    *,
    name: str,
    setting: str,
    node: str = "teacher.network",
    without_classifier: bool = False,
) -> None:
    """Load trained weights into a `Network`, in place and all of them or none.

    Checkpoints wrapped in ``state_dict`` or ``model``, names that begin with ``module.`` or
    ``model.``, a classifier named ``linear``, ``classifier``, ``head`` or ``fc``, and the names of
    CRD's networks (projection shortcuts ``downsample.0`` and ``.1``, ``block1.layer.0`` and
    ``convShortcut`` of wide ResNets) are understood; a model of timm takes what timm converts for
    it, see `diswot.models.zoo.timm_state`.

    ``weights`` is ``none`` or the ``own_weights`` of a module from Python (leave it as it is),
    ``embedded`` (shipped with the package, by the network's ``name``), the path of a ``.pt``,
    ``.pth``, ``.bin`` or ``.safetensors`` file or of a run directory of ``diswot train``, or, for
    networks of torchvision and timm, a tag of theirs such as ``IMAGENET1K_V1``. Messages say where
    it and the network stand in the config: ``setting`` and ``node``. Weights that hold no
    classifier, or one of another number of classes, are taken where ``without_classifier`` allows
    it; the network's is then all zeros, and `untrained_classifier` says why.

    Raises:
        UserError: For a file or tag that does not exist or cannot be read, that holds anything
            but tensors, or that does not fit the network.
    """
    if weights in ("none", getattr(network, "own_weights", "none")):
        return
    try:
        state = _renamed(_state_dict(_content(network, weights, name), weights), network)
        if isinstance(network, AdaptedNetwork) and isinstance(network.source, TimmSource):
            converted = dict(timm_state(network._model, state))
            if changed := timm_resampled(state, converted):
                raise UserError(f"{weights} is of another model: {changed}")
            state = converted
        problem = _classifier_problem(state, network)
        if problem and not without_classifier:
            raise UserError(f"{weights} {problem}")
        if problem:
            state = _with_zero_classifier(state, network)
        _check_fit(state, network, weights, node)
    except UserError as error:
        raise UserError(f"{setting}: {error}") from None
    network.load_state_dict(state)
    cast(Any, network).classifier.problem = problem


def untrained_classifier(network: nn.Module) -> str | None:
    """Why the classifier is not of the weights that were loaded; None where it is, or none were."""
    return cast("str | None", getattr(cast(Network, network).classifier, "problem", None))


def embedded_names() -> list[str]:
    """The networks whose weights come with the package, trained for its images."""
    assets = resources.files("diswot") / "assets"
    files = assets.iterdir() if assets.is_dir() else ()
    return sorted(Path(file.name).stem for file in files if file.name.endswith(".safetensors"))


def classifier_path(network: nn.Module) -> str:
    """Name of the classifier among the modules of a `Network`."""
    if not isinstance(network, Network):
        raise TypeError(f"{type(network).__name__} is no Network: it has no classifier or outputs")
    last = network.classifier
    return next(str(name) for name, m in network.named_modules() if m is last)


def one_line(value: object) -> str:
    """The text of a value on one line of at most 200 characters."""
    return " ".join(str(value).split())[:200]


def _content(network: nn.Module, weights: str, name: str) -> object:
    if weights == "embedded":
        if name not in (names := embedded_names()):
            listed = ", ".join(names) or "none"
            raise UserError(f"embedded has no weights for {name!r}; embedded are: {listed}")
        return load(read_asset(f"{name}.safetensors", resources.files("diswot") / "assets"))
    path = Path(weights).expanduser()
    if path.is_dir():
        path = path / WEIGHTS_FILE
        if not path.is_file():
            raise UserError(
                f"the folder {path.parent} holds no {WEIGHTS_FILE}; give a run directory of "
                "diswot train that has finished, or a file"
            )
    if path.is_file():
        return _read_file(path)
    if path.suffix in _SUFFIXES or len(path.parts) > 1:
        raise UserError(f"there is no file {weights}")
    source = network.source if isinstance(network, AdaptedNetwork) else None
    tags = source.tags() if source else ()
    if source is None or weights not in tags:
        raise UserError(
            f"{weights!r} is not none, embedded or an existing file, nor a tag of {name}; "
            f"its tags: {nearest(weights, tags, count=10) or 'none'}"
        )
    try:
        return source.fetch(weights)
    except (OSError, HTTPException, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(f"{weights} failed to download ({one_line(error)})") from None


def _read_file(path: Path) -> object:
    if path.suffix not in _SUFFIXES:
        raise UserError(f"{path} must end in one of {', '.join(_SUFFIXES)}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings(action="ignore"):  # of the pickle protocol, before it refuses
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UserError(
            f"{path} is damaged, or holds objects other than tensors, which could "
            "run code and are never loaded; save a state dict"
        ) from None
    except (SafetensorError, *DAMAGED) as error:
        problem = f"it may be damaged or cut off ({one_line(error)})"
        raise UserError(f"{path} cannot be read, {problem}") from None


def _state_dict(content: object, weights: str) -> dict[str, Tensor]:
    for wrapper in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not content:
        raise UserError(f"{weights} holds no state dict")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            entry = f"{one_line(name)!r} is a {type(value).__name__}, not a tensor"
            raise UserError(f"{weights} is no state dict; {entry}")
    return dict(content)


def _renamed(state: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """The same tensors under the names the network uses."""
    own = network.state_dict().keys()
    for prefix in ("module.", "model."):
        if all(name.startswith(prefix) for name in state) and not own & state.keys():
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    for pattern, new in _CRD_NAMES:
        if not any(re.search(pattern, name) for name in own):
            state = {re.sub(pattern, new, name): value for name, value in state.items()}
    classifier = classifier_path(network)
    if f"{classifier}.weight" not in state:
        theirs = next((name for name in _CLASSIFIERS if f"{name}.weight" in state), classifier)
        for parameter in ("weight", "bias"):
            if (value := state.pop(f"{theirs}.{parameter}", None)) is not None:
                state[f"{classifier}.{parameter}"] = value
    return state


def _classifier_problem(state: Mapping[str, Tensor], network: nn.Module) -> str | None:
    """Why the state's classifier is not one for the network's classes; None where it is."""
    rows = state.get(f"{classifier_path(network)}.weight")
    classes = cast(Network, network).classifier.out_features
    if rows is None:
        return "holds no classifier"
    if rows.ndim == 2 and len(rows) != classes:
        return f"classifies {len(rows)} classes, num_classes is {classes}"
    return None


def _with_zero_classifier(state: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    prefix = f"{classifier_path(network)}."
    rest = {name: value for name, value in state.items() if not name.startswith(prefix)}
    own = cast(Network, network).classifier.state_dict(prefix=prefix)
    return rest | {name: torch.zeros_like(value) for name, value in own.items()}


def _check_fit(state: Mapping[str, Tensor], network: nn.Module, weights: str, node: str) -> None:
    own = network.state_dict()
    missing = [n for n in own if n not in state and not n.endswith("num_batches_tracked")]
    unexpected = [name for name in state if name not in own]
    reshaped = [
        f"{name} {tuple(value.shape)} instead of {tuple(own[name].shape)}"
        for name, value in state.items()
        if name in own and value.shape != own[name].shape
    ]
    problems = [
        f"{kind} {', '.join(map(one_line, names[:3]))}"
        + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        for kind, names in (("lacks", missing), ("adds", unexpected), ("has", reshaped))
        if names
    ]
    if problems:
        shortcuts = any(".shortcut." in name for name in missing + unexpected)
        hint = f"; try {node}.shortcut=A or B" if shortcuts else ""
        raise UserError(f"{weights} does not fit the network: it {'; '.join(problems)}{hint}")
