"""Device, precision and threads a network is scored with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from diswot import _torchvision
from diswot.checks import choice
from diswot.data import MiniBatch
from diswot.errors import UserError

if TYPE_CHECKING:
    from lightning.fabric import Fabric

__all__ = ["PRECISIONS", "Runtime", "resolve_device"]

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


def _fabric(device: str, precision: str) -> Fabric:
    _torchvision.ensure()
    from lightning.fabric import Fabric
    from lightning.fabric.plugins.environments.lightning import LightningEnvironment

    return Fabric(
        accelerator=device,
        devices=1,
        precision=precision,  # type: ignore[arg-type]
        plugins=[LightningEnvironment()],  # not that of a cluster which this process runs on
    )


def resolve_device(device: str) -> str:
    """``cpu`` or ``cuda``; ``auto`` takes CUDA where there is one.

    Raises:
        UserError: An unknown device, or CUDA where there is none.
    """
    choice("device", device, DEVICES)
    cuda = device != "cpu" and torch.cuda.is_available()
    if device == "cuda" and not cuda:
        raise UserError("device=cuda: this torch sees no CUDA device; use device=cpu or auto")
    return "cuda" if cuda else "cpu"


@dataclass(frozen=True)
class Runtime:
    """Where and how forward passes run.

    Attributes:
        device: ``cpu`` or ``cuda``.
        precision: A Fabric precision, see `PRECISIONS`.

    Raises:
        UserError: An unknown precision.
    """

    device: str = "cpu"
    precision: str = "32-true"

    def __post_init__(self) -> None:
        """Refuse an unknown precision."""
        choice("precision", self.precision, PRECISIONS)

    def place(self, network: nn.Module) -> nn.Module:
        """Move to the device, convolution weights in channels_last."""
        return network.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def place_batch(self, batch: MiniBatch) -> MiniBatch:
        """Move to the device, images in channels_last."""
        images = batch.images.to(self.device).contiguous(memory_format=torch.channels_last)
        return MiniBatch(images, batch.labels.to(self.device))

    def autocast(self) -> AbstractContextManager[object]:
        """The precision's context for a forward pass."""
        if self.precision == "32-true":
            return nullcontext()
        return _fabric(self.device, self.precision).autocast()

    @contextmanager
    def reproducible(self) -> Iterator[None]:
        """One intra-op thread and deterministic kernels, set back afterwards.

        The number of threads changes the bits of sums and of BatchNorm.
        """
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with torch.backends.cudnn.flags(
                enabled=True, benchmark=False, deterministic=True, allow_tf32=False
            ):
                yield
        finally:
            torch.set_num_threads(threads)
