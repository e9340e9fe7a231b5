"""A trained teacher as training uses it: frozen and folded, or as logits kept in a file.

The file is named by the hash of all that the logits depend on, so runs that may share it do. It is
written as the logits come, replaces another in one step, and is read through a memory map.
"""

from __future__ import annotations

import json
import secrets
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils.data import DataLoader

from diswot.console import print_lines
from diswot.data.base import ResidentImages
from diswot.data.training import Batch, Batches, TrainingData
from diswot.errors import UserError
from diswot.models.outputs import Network, NetworkOutputs
from diswot.runs.files import replacing
from diswot.scoring.runtime import Runtime, resolve_device

_ROUNDING = 1e-3  # largest difference that rounding makes, as a share of a tensor's largest value
_SCHEMA = 1  # to be raised when the same settings come to give other logits
_BATCH = 128  # images of a pass; not those of a training step, or bits would depend on the run
_PROBE = 16  # images whose pixels go into the key
_EVERY = 10.0  # seconds between two lines on progress
_ABANDONED = 24 * 3600.0  # seconds after which a draft is taken for that of a killed process
_NOT_IN_KEY = ("batch_size", "num_workers", "resident", "balanced", "download")  # change no view

Shape = tuple[int, int, int]
"""Views, images, classes."""


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


class StoredLogits:
    """The ``logits`` ``(views, images, classes)`` in a file of `write_logits`, memory-mapped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with safe_open(path, "pt") as file:
            self.logits: Tensor = file.get_tensor("logits")

    def __reduce__(self) -> tuple[type[StoredLogits], tuple[Path]]:
        """Send the path: shared memory is often too small for what the file holds."""
        return StoredLogits, (self.path,)


def stored_logits(
    network: nn.Module, config: Mapping[str, Any], batches: TrainingData, *, quiet: bool = False
) -> StoredLogits:
    """Open the file with the logits of a run's teacher; compute it where there is none.

    A file that is cut off, damaged or not ours is computed again: nothing else can be lost in it.
    All training images are shown, those held out too. The network is changed where it has to run.
    A UserError says that the folder cannot be made, an OSError that the disk is full.
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
    key = _key(network, config, training, runtime, views)
    shape = views, len(training.images), batches.data.num_classes
    path = folder / f"{key}.safetensors"
    if not _is_whole(path, shape):
        _remove_abandoned(folder)
        images, _, _ = batches.test.view(torch.arange(2), 0)
        chunks = _computed(FrozenTeacher(network, images), batches, runtime, views)
        write_logits(path, shape, chunks if quiet else _shown(chunks, views * shape[1]))
    return StoredLogits(path)


def _key(
    network: nn.Module, config: Mapping[str, Any], training: Batches, runtime: Runtime, views: int
) -> str:
    data = {name: value for name, value in config["data"].items() if name not in _NOT_IN_KEY}
    settings = {
        "schema": _SCHEMA,
        "teacher": config["teacher"]["network"],
        "data": data,
        "augment": config["protocol"]["augment"],
        "seed": training.seed,
        "views": views,
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
        digest.update(_plain_bytes(tensor))
    return digest.hexdigest()


@torch.no_grad()
def _computed(
    teacher: FrozenTeacher, batches: TrainingData, runtime: Runtime, views: int
) -> Iterator[Tensor]:
    """Logits ``(B, K)`` of the images in their order, view after view."""
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
                logits = teacher(placed, logits_only=True).logits
            yield logits.float().cpu()


def _shown(chunks: Iterator[Tensor], total: int) -> Iterator[Tensor]:
    """The same chunks, with a line on progress now and then."""
    done, started = 0, time.monotonic()
    last = started
    for chunk in chunks:
        yield chunk
        done, now = done + len(chunk), time.monotonic()
        if now - last >= _EVERY:
            last, rate = now, done / (now - started)
            left = f"{rate:,.0f}/s, {(total - done) / rate:.0f} s left"
            print_lines([f"teacher's logits: {done:,} of {total:,} images, {left}"])


def write_logits(path: Path, shape: Shape, chunks: Iterable[Tensor]) -> None:
    """Write a safetensors file; processes that write the same one at once do each other no harm.

    Chunks are the logits ``(B, K)`` of a view's images in order, float32, view after view; none
    goes beyond a view. On a full disk, an OSError, ``path`` is unchanged.
    """
    views, images, classes = shape
    size = views * images * classes * 4
    entries = {
        "logits": {"dtype": "F32", "shape": shape, "data_offsets": [0, size]},
        "crc32": {"dtype": "I64", "shape": [views], "data_offsets": [size, size + 8 * views]},
    }
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)
    checksums, written = np.zeros(views, dtype="<i8"), 0
    with replacing(path, f".{path.name}.{secrets.token_hex(4)}.tmp") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for chunk in chunks:
            content, view = _plain_bytes(chunk), written // images
            checksums[view] = zlib.crc32(content, int(checksums[view]))
            written += len(chunk)
            file.write(content)
        file.write(checksums.tobytes())


def _is_whole(path: Path, shape: Shape) -> bool:
    """Whether a file holds what was written."""
    try:
        with safe_open(path, "pt") as file:
            logits, checksums = file.get_tensor("logits"), file.get_tensor("crc32")
    except (SafetensorError, OSError):
        return False
    if logits.shape != shape or logits.dtype != torch.float32:
        return False
    return bool(checksums.tolist() == [zlib.crc32(_plain_bytes(view)) for view in logits])


def _plain_bytes(tensor: Tensor) -> memoryview:
    plain = tensor.detach().cpu().contiguous().reshape(-1)
    return plain.view(torch.uint8).numpy().data


def _remove_abandoned(folder: Path) -> None:
    """Remove the drafts that killed processes left behind."""
    for draft in folder.glob(".*.safetensors.*.tmp"):
        with suppress(OSError):  # another process was quicker, or it is not ours
            if time.time() - draft.stat().st_mtime > _ABANDONED:
                draft.unlink()
