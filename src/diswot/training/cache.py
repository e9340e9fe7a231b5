"""A teacher's logits for views of all training images, computed once and kept in a file.

The file is named by the hash of all that the logits depend on, so runs that may share it do.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from torch import Tensor, nn
from torch.utils.data import DataLoader

from diswot.data.training import Batch, Batches, TrainingData
from diswot.errors import UserError
from diswot.scoring.runtime import Runtime, resolve_device
from diswot.training.stored import (
    StoredLogits,
    is_whole,
    plain_bytes,
    remove_abandoned,
    write_logits,
)
from diswot.training.teacher import FrozenTeacher

__all__ = ["stored_logits"]

_SCHEMA = 1
"""To be raised when the same settings come to give other logits."""

_BATCH = 128
"""Images of a pass; not those of a training step, or bits would depend on the run."""

_PROBE = 16
"""Images whose pixels go into the key."""

_EVERY = 10.0
"""Seconds between two lines of progress where there is no terminal."""

_NOT_IN_KEY = ("batch_size", "num_workers", "balanced", "download")
"""Settings of the data that change no view of an image."""


def stored_logits(
    network: nn.Module, config: Mapping[str, Any], batches: TrainingData, *, quiet: bool = False
) -> StoredLogits:
    """Open the file with the logits; compute it where there is none.

    A file that is cut off, damaged or not ours is computed again: nothing else can be lost in it.

    Args:
        network: The teacher with its weights; changed where it has to run.
        config: Resolved config of the run.
        batches: Of the run; all its training images are shown, those held out too.
        quiet: Show no progress.

    Raises:
        UserError: The folder cannot be made.
        OSError: The disk is full; nothing is left behind.
    """
    folder = _folder(config["trainer"]["teacher_cache"]["dir"])
    runtime = Runtime(resolve_device(config["device"]), config["precision"])
    training = batches.training
    views = training.views if training.augment else 1  # without augmentation all are alike
    key = _key(network, config, training, runtime, views)
    shape = views, len(training.images), batches.data.num_classes
    path = folder / f"{key}.safetensors"
    if not is_whole(path, key, shape):
        remove_abandoned(folder)
        images, _, _ = batches.test.view(torch.arange(2), 0)
        chunks = _computed(FrozenTeacher(network, images), batches, runtime, views)
        write_logits(path, key, shape, chunks if quiet else _shown(chunks, views * shape[1]))
    return StoredLogits(path)


def _folder(setting: object) -> Path:
    folder = Path(str(setting)).expanduser().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"trainer.teacher_cache.dir={setting} cannot be made ({error.strerror}); give a folder "
            "that can be written"
        ) from error
    return folder


def _key(
    network: nn.Module, config: Mapping[str, Any], training: Batches, runtime: Runtime, views: int
) -> str:
    data = {name: value for name, value in config["data"].items() if name not in _NOT_IN_KEY}
    settings = {
        "schema": _SCHEMA,
        "teacher": config["teacher"]["network"],
        "data": data,
        "augment": config["trainer"]["augment"],
        "seed": training.seed,
        "views": views,
        "precision": runtime.precision,
        "device": runtime.device,
        "torch": torch.__version__,
    }
    digest = blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=16)
    spread = torch.linspace(0, len(training.images) - 1, _PROBE).long()
    shown = {"images": training.view(spread, 0)[0], "labels": training.images.labels}
    for name, tensor in [*network.state_dict().items(), *shown.items()]:
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(plain_bytes(tensor))
    return digest.hexdigest()


@torch.no_grad()
def _computed(
    teacher: FrozenTeacher, batches: TrainingData, runtime: Runtime, views: int
) -> Iterator[Tensor]:
    """Logits ``(B, K)`` of the images in their order, view after view."""
    training = batches.training
    everything = torch.arange(len(training.images))
    source = Batches(
        training.images, everything, _BATCH, seed=training.seed, augment=training.augment
    )
    places = [(view, number) for view in range(views) for number in range(source.count)]
    loader: DataLoader[Batch] = DataLoader(
        source, batch_size=None, sampler=places, num_workers=batches.data.num_workers
    )
    device = torch.device(runtime.device)
    teacher.to(device)
    with torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    ):
        for images, _, _ in loader:
            placed = images.to(device).contiguous(memory_format=torch.channels_last)
            with runtime.autocast():
                logits = teacher(placed, logits_only=True).logits
            yield logits.float().cpu()


def _shown(chunks: Iterator[Tensor], total: int) -> Iterator[Tensor]:
    """The same chunks, with a bar on a terminal, else a line now and then."""
    console = Console(file=sys.stderr, highlight=False, soft_wrap=True)
    columns = (TextColumn("[bold]teacher's logits"), BarColumn(), MofNCompleteColumn())
    rated = (TextColumn("{task.fields[rate]}"), TimeRemainingColumn(compact=True))
    terminal, done, started = console.is_terminal, 0, time.monotonic()
    told = started
    with Bar(*columns, *rated, console=console, disable=not terminal, transient=True) as bar:
        task = bar.add_task("", total=total, rate="")
        for chunk in chunks:
            yield chunk
            done, now = done + len(chunk), time.monotonic()
            rate = done / (now - started)
            bar.update(task, completed=done, rate=f"{rate:,.0f} images/s")
            if not terminal and now - told >= _EVERY:
                told = now
                console.print(
                    f"teacher's logits: {done:,} of {total:,} images, {rate:,.0f}/s, "
                    f"{(total - done) / rate:.0f} s left"
                )
