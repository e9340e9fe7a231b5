"""Forward passes of untrained networks: device, precision, threads, and what proxies read."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from diswot import _torchvision
from diswot.checks import choice
from diswot.data import MiniBatch
from diswot.errors import UserError
from diswot.proxies.passes import Gradients, Layer, Shared, record_layers

if TYPE_CHECKING:
    from diswot.models.outputs import Network, NetworkOutputs
    from diswot.proxies.base import Proxy

__all__ = ["PRECISIONS", "Forward", "PrefixCache", "Runtime", "forward", "resolve_device"]

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


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
        _torchvision.ensure()
        from lightning.fabric import Fabric
        from lightning.fabric.plugins.environments.lightning import LightningEnvironment

        fabric = Fabric(
            accelerator=self.device,
            devices=1,
            precision=self.precision,  # type: ignore[arg-type]
            plugins=[LightningEnvironment()],  # not that of a cluster which this process runs on
        )
        return fabric.autocast()

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


@dataclass(frozen=True)
class Forward:
    """Results of one forward pass.

    Attributes:
        outputs: Maps, embedding, logits.
        observed: What each proxy's `Proxy.observe` gave, by name.
        layers: Calls of convolutions and linear layers, where a proxy reads them.
        gradients: Through this pass, where a proxy reads them.
        shared: Keeps what several proxies compute alike.
    """

    outputs: NetworkOutputs
    observed: Mapping[str, Any]
    layers: Sequence[Layer] = ()
    gradients: Gradients | None = None
    shared: Shared = field(default_factory=Shared)


def forward(
    network: nn.Module,
    proxies: Mapping[str, Proxy],
    batch: MiniBatch,
    runtime: Runtime,
    known: Sequence[Tensor] = (),
) -> Forward:
    """One forward pass in train mode, watched by the proxies.

    Args:
        network: On the runtime's device.
        proxies: Those that look at this pass; only where one needs it is a graph recorded.
        batch: On the runtime's device.
        runtime: Precision.
        known: Maps of the first stages, see `diswot.models.staged.StagedNetwork.outputs`.
    """
    network.train()
    graph = any(proxy.needs_gradients for proxy in proxies.values())
    images = batch.images.detach().requires_grad_(graph)
    with ExitStack() as stack:
        stack.enter_context(torch.set_grad_enabled(graph))
        layers: Sequence[Layer] = ()
        if any(proxy.needs_layers for proxy in proxies.values()):
            layers = stack.enter_context(record_layers(network))
        observed = {
            name: stack.enter_context(proxy.observe(network)) for name, proxy in proxies.items()
        }
        with runtime.autocast():
            first_stages = {"known": known} if known else {}
            outputs = cast("Network", network).outputs(images, **first_stages)
    gradients, shared = None, Shared()
    if graph:
        logits = outputs.logits if runtime.precision == "32-true" else outputs.logits.float()
        gradients = Gradients(network, MiniBatch(images, batch.labels), logits, layers, shared)
    return Forward(outputs, observed, layers, gradients, shared)


class PrefixCache:
    """Maps of network prefixes that candidates have in common; the least recently used go first.

    Equal names and shapes have equal parameters in every candidate and all see the same
    mini-batch, so candidates whose first stages are alike have bit-equal maps there. One cache
    serves one `Scorer` in one process.

    Args:
        limit: Bytes kept.
    """

    def __init__(self, limit: int = 512 * 2**20) -> None:
        self._limit = limit
        self._bytes = 0
        self._maps: OrderedDict[Hashable, Tensor] = OrderedDict()

    def longest(self, keys: Sequence[Hashable]) -> list[Tensor]:
        """The maps of the longest known prefix, shallowest first."""
        maps = []
        for key in keys:
            if key not in self._maps:
                break
            self._maps.move_to_end(key)
            maps.append(self._maps[key])
        return maps

    def store(self, keys: Sequence[Hashable], maps: Sequence[Tensor]) -> None:
        """Keep each map under its key."""
        for key, kept in zip(keys, maps, strict=False):
            if key not in self._maps:
                self._maps[key] = kept
                self._bytes += kept.nbytes
        while self._bytes > self._limit:
            _, oldest = self._maps.popitem(last=False)
            self._bytes -= oldest.nbytes
