"""Objects that Python gives beside a config: images, and modules as teacher or student.

A config is plain values, so it names such an object: its node holds the hash of the content, which
tells runs apart, and a function that finds the object while the call that gave it lasts.
"""

import copy
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from operator import index
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from diswot import keys
from diswot.config import make
from diswot.data.base import ImageData, Split
from diswot.data.npz import ArrayData, as_stored
from diswot.errors import UserError
from diswot.models.adapter import adapted
from diswot.models.inputs import own_input
from diswot.models.outputs import Network

NETWORK = "diswot.given.network"
"""The ``_target_`` of a module that was given."""

_FROM_FILES = ("_target_", "path", "test_path")  # settings of ``data=npz`` that arrays have not
_DROPOUT = (
    *(nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d),
    *(nn.AlphaDropout, nn.FeatureAlphaDropout),
)
_OBJECTS: ContextVar[Mapping[str, Any]] = ContextVar("objects")
_Arrays = tuple[NDArray[np.uint8], NDArray[np.int64]]


@contextmanager
def named(config: Mapping[str, Any], objects: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The config with nodes for the objects, which are found while the context lasts.

    ``objects`` are some of ``data``, ``test_data``, ``teacher`` and ``student``, as `diswot.api`
    describes them. Where images are given the config has the group ``data`` of ``data=npz``.

    Raises:
        UserError: An object is not as described, or the module does not run on the images.
    """
    config, held = dict(config), dict[str, Any]()
    token = _OBJECTS.set(held)
    try:
        if {"data", "test_data"} & objects.keys():
            stored = _splits(objects)
            digest = _sha256(torch.from_numpy(array) for pair in stored.values() for array in pair)
            name = "arrays" if isinstance(objects["data"], tuple) else _name(objects["data"])
            node: dict[str, Any]
            node = {"_target_": "diswot.given.images", "name": name, "sha256": digest}
            settings = {k: v for k, v in config["data"].items() if k not in _FROM_FILES}
            config["data"], held[digest] = {**node, **settings}, stored
        for role in [role for role in ("teacher", "student") if role in objects]:
            data = make(config["data"], "data", ImageData)
            module, stages = _with_stages(objects[role], role)
            kept = {k: v for k, v in (config.get(role) or {}).items() if k == "input"}
            side = own_input({"name": _name(module), **kept}, data.transform).image_size
            own = _copied(module, stages, role, data.name, (data.in_channels, side, side))
            found, state = list(getattr(own, "stage_paths", ())), own.state_dict().values()
            tensors = (each for each in state if isinstance(each, Tensor))
            digest = _sha256(tensors, f"{role} {found} {module}")
            node = {"_target_": NETWORK, "sha256": digest, "stages": found}
            config[role] = {
                **{"name": _name(module), "weights": _tag(digest), "network": node},
                **kept,
            }
            held[digest] = own
        yield config
    finally:
        _OBJECTS.reset(token)


def images(*, sha256: str, **settings: Any) -> ArrayData:
    """The images of a node that `named` made."""
    return ArrayData(_object(sha256), **settings)


def network(*, sha256: str, num_classes: int, **_: object) -> nn.Module:
    """A copy of the module of a node that `named` made, with its weights; a `Network`."""
    made = copy.deepcopy(_object(sha256))
    if (classes := made.classifier.out_features) != num_classes:
        raise UserError(
            f"the module has {classes} classes, num_classes is {num_classes}; give a module of as "
            "many, or its number as num_classes and data.num_classes"
        )
    made.own_weights = _tag(sha256)  # see `load_weights`: they are there already
    return cast("nn.Module", made)


def _object(sha256: str) -> Any:
    try:
        return _OBJECTS.get({})[sha256]
    except KeyError:
        raise UserError(
            "this config is of images or a module given from Python, which this call lacks; give "
            "them to it (a training in several processes: start the whole program with torchrun)"
        ) from None


def _tag(sha256: str) -> str:
    return f"sha256:{sha256[:16]}"


def _copied(
    module: nn.Module,
    stages: Sequence[str] | None,
    role: str,
    data: str,
    image: tuple[int, int, int],
) -> Any:
    """A copy on the CPU as a `Network`, in training mode, after it ran on noise like an image."""
    own = copy.deepcopy(module).cpu().float().eval()
    if role == "teacher":
        own.requires_grad_(True)  # what is frozen counts as parameters too
        for layer in own.modules():
            if isinstance(layer, _DROPOUT):
                layer.p = 0.0  # scores run networks in training mode and draw nothing
    noise = torch.randn(2, *image, generator=keys.generator("given"))
    try:
        if stages or not isinstance(own, Network):
            own = adapted(own, noise, stages)
        with torch.no_grad():
            cast("Network", own).outputs(noise)
    except UserError as error:
        raise UserError(f"{role}: {_name(module)}: {error}") from None
    except (RuntimeError, ValueError, TypeError) as error:
        shape = "×".join(map(str, image))
        raise UserError(
            f"{role}: {_name(module)} does not run on {data}, images of {shape}: "
            f"{' '.join(str(error).split())[:200]}"
        ) from error
    return own.train()


def _with_stages(given: object, role: str) -> tuple[nn.Module, list[str] | None]:
    """The module, and the paths of its stages if they were given with it; else a `UserError`."""
    module, stages = given if isinstance(given, tuple) and len(given) == 2 else (given, None)
    if not isinstance(module, nn.Module):
        raise UserError(f"{role}: a {_name(given)} is no network; give a name or a torch.nn.Module")
    return module, None if stages is None else list(stages)


def trained(given: object, file: Path) -> nn.Module:
    """A copy of a given student with the weights of a file, on the CPU and in eval mode."""
    made = copy.deepcopy(_with_stages(given, "student")[0]).cpu().float()
    made.load_state_dict(load_file(file))
    return made.eval()


def _splits(objects: Mapping[str, Any]) -> dict[Split, _Arrays]:
    if "data" not in objects:
        raise UserError("test_data: given without training images; give both, or data by name")
    settings: dict[Split, str] = {"train": "data", "test": "test_data"}
    stored = {s: _stored(objects[name], name) for s, name in settings.items() if name in objects}
    channels = [images.shape[1] for images, _ in stored.values()]
    if channels[-1] != channels[0]:
        raise UserError(f"test_data: images of {channels[-1]} channels; data has {channels[0]}")
    return stored


def _stored(given: object, setting: str) -> _Arrays:
    try:
        if isinstance(given, tuple) and len(given) == 2:
            pixels, labels = _bytes(given[0]), np.asarray(given[1])
        elif isinstance(given, Dataset | DataLoader):
            with torch.random.fork_rng(devices=[]):
                pairs = [(_bytes(image), index(label)) for image, label in _items(given)]
            pixels = np.stack([image for image, _ in pairs])
            labels = np.array([label for _, label in pairs])
        else:
            raise ValueError(f"it is a {_name(given)}")
        if pixels.ndim == 3:
            pixels = pixels[:, None]  # grey, without an axis of channels
        return as_stored(pixels, labels, ("images", "labels"))
    except (ValueError, TypeError) as error:
        raise UserError(
            f"{setting}: {error}; give (images, labels), or a Dataset or DataLoader of pairs: "
            "images of one size, uint8 or of [0, 1], not normalised, and whole numbers from 0"
        ) from error


def _items(source: Any) -> Iterator[Any]:
    """Images and labels in the order of the data set; of a loader, those its sampler takes."""
    chosen = None
    if isinstance(source, DataLoader):
        chosen = getattr(source.batch_sampler, "sampler", source.sampler)
        source = source.dataset
    if isinstance(source, IterableDataset):
        return iter(source)
    return (source[place] for place in (range(len(source)) if chosen is None else sorted(chosen)))


def _bytes(pixels: object) -> NDArray[Any]:
    """Pixels as they are stored: those of [0, 1] as bytes."""
    array = pixels.detach().cpu().numpy() if isinstance(pixels, Tensor) else pixels
    array = np.ascontiguousarray(array)
    if not np.issubdtype(array.dtype, np.floating):
        return array
    if not (array.min() >= 0 and array.max() <= 1):
        raise ValueError(f"images run from {array.min():.3g} to {array.max():.3g}")
    return (array * 255).round().astype(np.uint8)


def _sha256(tensors: Iterable[Tensor], text: str = "") -> str:
    digest = hashlib.sha256(text.encode())
    for tensor in tensors:
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        plain = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(plain.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _name(given: object) -> str:
    return type(given).__name__
