"""A trained teacher as training uses it: frozen and folded, or as outputs kept in a file.

The file is named by the hash of all that the outputs depend on, so runs that may share it do.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import Any, Self, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils.data import DataLoader

from diswot.console import counted, counting, print_lines, shown
from diswot.data.base import ResidentImages
from diswot.data.training import Batch, Batches, TrainingData
from diswot.errors import UserError
from diswot.models.outputs import Network, NetworkOutputs
from diswot.scoring.runtime import Runtime, resolve_device
from diswot.training.stored import (
    Kept,
    Rows,
    StoredOutputs,
    is_whole,
    plain_bytes,
    remove_abandoned,
    write_outputs,
)

_ROUNDING = 1e-3  # largest difference that rounding makes, as a share of a tensor's largest value
_SCHEMA = 1  # to be raised when the same settings come to give other logits
_BATCH = 128  # images of a pass; not those of a training step, or bits would depend on the run
_PROBE = 16  # images whose pixels go into the key
_NOT_IN_KEY = ("batch_size", "num_workers", "resident", "balanced", "download")  # change no view


class FrozenTeacher:
    """Runs a teacher in eval mode and without a graph.

    No ``nn.Module``, so in no checkpoint, optimiser or DDP. The trained network is frozen, folded
    on a few images ``(B, C, H, W)``, and moved.
    """

    def __init__(self, network: nn.Module, images: Tensor) -> None:
        network.requires_grad_(False).eval()
        fold_batch_norms(network, images)
        self._network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def weight(self) -> Tensor:
        """Weight of the classifier, ``(K, C)``."""
        return cast(Network, self._network).classifier.weight

    def to(self, device: torch.device) -> None:
        """Move it."""
        self._network.to(device)

    @torch.no_grad()
    def __call__(self, images: Tensor, *, logits_only: bool = False) -> NetworkOutputs:
        """One pass of ``(B, C, H, W)`` images; quicker where nothing but logits is asked for."""
        if logits_only:
            return only_logits(self._network(images))
        return cast(Network, self._network).outputs(images)

    def __deepcopy__(self, memo: object) -> Self:
        """It never changes, so copies of a module share it."""
        return self


def only_logits(logits: Tensor) -> NetworkOutputs:
    """Outputs that hold logits ``(B, K)`` alone."""
    return NetworkOutputs((), (), logits.new_empty(len(logits), 0), logits)


def fold_batch_norms(network: nn.Module, images: Tensor) -> int:
    """Replace every pair of convolution and BatchNorm by one convolution, in place.

    Pairs are found by running the network, which is in eval mode, on a few images
    ``(B, C, H, W)``: a BatchNorm whose input is the very tensor that a convolution gave, both used
    once. All else stays as it is, and so does a network whose outputs change by more than rounding,
    since it reads elsewhere what a convolution gave. Gives the number of pairs that were folded.
    """
    pairs = _pairs(network, images)
    names = {module: name for name, module in network.named_modules()}
    before = _outputs(network, images)
    for convolution, norm in pairs:
        network.set_submodule(names[convolution], fuse_conv_bn_eval(convolution, norm))
        network.set_submodule(names[norm], nn.Identity().eval())
    if all(map(_close, _outputs(network, images), before)):
        return len(pairs)
    for module in (part for pair in pairs for part in pair):
        network.set_submodule(names[module], module)
    return 0


@torch.no_grad()
def _outputs(network: nn.Module, images: Tensor) -> list[Tensor]:
    if not isinstance(network, Network):
        return [network(images)]
    outputs = network.outputs(images)
    return [*outputs.stages, *outputs.preactivations, outputs.embedding, outputs.logits]


def _close(one: Tensor, other: Tensor) -> bool:
    return bool(((one - other).abs() <= _ROUNDING * float(other.abs().max())).all())


def _pairs(network: nn.Module, images: Tensor) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    produced: dict[int, tuple[nn.Conv2d, Tensor]] = {}
    calls: dict[nn.Module, int] = {}
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []

    def remember(module: nn.Module, _: object, output: Tensor) -> None:
        calls[module] = calls.get(module, 0) + 1
        if isinstance(module, nn.Conv2d):
            produced[id(output)] = module, output  # kept alive, so that its id stays its own

    def compare(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(module, nn.BatchNorm2d) and id(inputs[0]) in produced:
            pairs.append((produced[id(inputs[0])][0], module))

    with ExitStack() as hooks, torch.no_grad():
        for module in network.modules():
            foldable = type(module) is nn.BatchNorm2d and module.running_mean is not None
            if foldable or type(module) is nn.Conv2d:
                hooks.enter_context(module.register_forward_hook(remember))
                hooks.enter_context(module.register_forward_pre_hook(compare))
        network(images)
    return [pair for pair in pairs if all(calls.get(module) == 1 for module in pair)]


def stored_outputs(
    network: nn.Module, config: Mapping[str, Any], batches: TrainingData, *, quiet: bool = False
) -> StoredOutputs:
    """Open the file with the outputs of a run's teacher; compute it where there is none.

    A file that is cut off, damaged or not ours is computed again: nothing else can be lost in it.
    All training images are shown, those held out too. The network is changed where it has to run.
    A UserError says that the folder cannot be made, or has not the room, an OSError that the disk
    is full.
    """
    setting = config["protocol"]["teacher_cache"]["dir"]
    folder = Path(str(setting)).expanduser().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"protocol.teacher_cache.dir={setting} cannot be made ({error.strerror}); give a "
            "folder that can be written"
        ) from error
    runtime = Runtime(resolve_device(config["device"]), config["precision"])
    training = batches.training
    views = training.views if training.augment else 1  # without augmentation all are alike
    kept, count = _kept(network, config), len(training.images)
    stored: dict[str, Any] = {"views": views}
    if kept != Kept(kept.classes):  # all logits were all that was kept once
        stored["kept"] = asdict(kept)
    path = folder / f"{_key(network, config, training, runtime, stored)}.safetensors"
    if not is_whole(path, kept, views, count):
        remove_abandoned(folder)
        line = _size(path, kept, views, count)
        images, _, _ = batches.test.view(torch.arange(2), 0)
        chunks = _computed(FrozenTeacher(network, images), batches, runtime, views, kept)
        if not quiet:
            print_lines([line])
            chunks = counting(chunks, "teacher's outputs", views * count, _rows)
        write_outputs(path, kept, views, count, chunks)
    return StoredOutputs(path, kept)


def like_stored(network: nn.Module, config: Mapping[str, Any], images: Tensor) -> NetworkOutputs:
    """Zeros in the form of what `stored_outputs` keeps of a teacher's outputs for some images."""
    kept, classifier = _kept(network, config), cast(Network, network).classifier
    embedding, logits = (
        images.new_zeros(len(images), width)
        for width in (classifier.in_features, classifier.out_features)
    )
    return kept.unpack(kept.pack(NetworkOutputs((), (), embedding, logits)))


def _kept(network: nn.Module, config: Mapping[str, Any]) -> Kept:
    cache, classifier = config["protocol"]["teacher_cache"], cast(Network, network).classifier
    classes, top = classifier.out_features, cache["top"]
    if top is not None and top >= classes:
        raise UserError(
            f"protocol.teacher_cache.top={top}: there are {classes} classes; give fewer, or null"
        )
    embedding = classifier.in_features if cache["embedding"] else 0
    return Kept(classes, top, cache["half"], embedding)


def _size(path: Path, kept: Kept, views: int, images: int) -> str:
    """A line on what is written; a `UserError` where there is no room for it."""
    needed, free = views * images * kept.nbytes, shutil.disk_usage(path.parent).free
    what = f"{counted(views, 'view')} × {images:,} images × {kept}"
    line = f"teacher's outputs: {what}, {needed / 1e6:,.1f} MB in {shown(path)}"
    if needed > free:
        raise UserError(
            f"{line}, where {free / 1e6:,.1f} MB are free; give fewer views, "
            "protocol.teacher_cache.top=10, protocol.teacher_cache.half=true, or another dir"
        )
    return line


def _key(
    network: nn.Module,
    config: Mapping[str, Any],
    training: Batches,
    runtime: Runtime,
    stored: Mapping[str, Any],
) -> str:
    data = {name: value for name, value in config["data"].items() if name not in _NOT_IN_KEY}
    settings = {
        "schema": _SCHEMA,
        "teacher": config["teacher"]["network"],
        "data": data,
        "augment": config["protocol"]["augment"],
        "seed": training.seed,
        **stored,
        "precision": runtime.precision,
        "device": runtime.device,
        "torch": torch.__version__,
    }
    if own := config["teacher"].get("input"):
        settings["input"] = own
    digest = blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=16)
    spread = torch.linspace(0, len(training.images) - 1, _PROBE).long()
    probe = {"images": training.view(spread, 0)[0], "labels": training.images.labels}
    for name, tensor in [*network.state_dict().items(), *probe.items()]:
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(plain_bytes(tensor))
    return digest.hexdigest()


@torch.no_grad()
def _computed(
    teacher: FrozenTeacher, batches: TrainingData, runtime: Runtime, views: int, kept: Kept
) -> Iterator[Rows]:
    """What is kept of the images in their order, view after view."""
    training, device = batches.training, torch.device(runtime.device)
    images = batches.placed(training.images, device)
    everything = torch.arange(len(images), device=images.labels.device)
    source = Batches(images, everything, _BATCH, seed=training.seed, augment=training.augment)
    places = [(view, number) for view in range(views) for number in range(source.count)]
    workers = 0 if isinstance(images, ResidentImages) else batches.data.num_workers
    loader: DataLoader[Batch] = DataLoader(
        source, batch_size=None, sampler=places, num_workers=workers
    )
    teacher.to(device)
    with torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    ):
        for batch, _, _ in loader:
            placed = batch.to(device).contiguous(memory_format=torch.channels_last)
            with runtime.autocast():
                outputs = teacher(placed, logits_only=not kept.embedding)
            yield kept.pack(outputs)


def _rows(chunk: Rows) -> int:
    return len(next(iter(chunk.values())))
