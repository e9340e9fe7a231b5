"""Forward passes of untrained networks: device, precision, threads, and what proxies read."""

import warnings
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from diswot.checks import choice
from diswot.data import MiniBatch
from diswot.errors import UserError
from diswot.models.outputs import Network, NetworkOutputs
from diswot.proxies.base import Proxy
from diswot.proxies.passes import Gradients, Layer, Shared, record_layers

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


def resolve_device(device: str) -> str:
    """``cpu`` or ``cuda``; ``auto`` takes CUDA where there is one.

    Raises:
        UserError: An unknown device, or CUDA where there is none.
    """
    choice("device", device, ("auto", "cpu", "cuda"))
    cuda = device != "cpu" and torch.cuda.is_available()
    if device == "cuda" and not cuda:
        raise UserError("device=cuda: this torch sees no CUDA device; use device=cpu or auto")
    return "cuda" if cuda else "cpu"


@dataclass(frozen=True)
class Runtime:
    """Where and how forward passes run: ``cpu`` or ``cuda``, and a precision of Lightning.

    Raises:
        UserError: A precision that is not in `PRECISIONS`.
    """

    device: str = "cpu"
    precision: str = "32-true"

    def __post_init__(self) -> None:
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
        if self.precision == "16-mixed" and self.device == "cuda":
            return torch.autocast(self.device, torch.float16)
        if self.precision == "16-mixed":
            warnings.warn("precision=16-mixed computes as bf16-mixed on the CPU", stacklevel=1)
        return torch.autocast(self.device, torch.bfloat16)

    @contextmanager
    def reproducible(self) -> Iterator[None]:
        """One intra-op thread and deterministic kernels, set back afterwards."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # their number changes the bits of sums and of BatchNorm
        exact = {"benchmark": False, "deterministic": True, "allow_tf32": False}
        try:
            with torch.backends.cudnn.flags(enabled=True, **exact):
                yield
        finally:
            torch.set_num_threads(threads)


class Forward(NamedTuple):
    """Results of one forward pass, see `ProxyInput`; what was observed is by proxy."""

    outputs: NetworkOutputs
    observed: Mapping[str, Any]
    layers: Sequence[Layer]
    gradients: Gradients | None
    shared: Shared


def forward(
    network: nn.Module,
    proxies: Mapping[str, Proxy],
    batch: MiniBatch,
    runtime: Runtime,
    blocks: list[Tensor] | None = None,
) -> Forward:
    """One forward pass in train mode, watched by the proxies that look at it.

    Network and mini-batch are on the runtime's device; a graph is recorded only where a proxy
    needs it. For ``blocks`` see `StagedNetwork.outputs`; other networks take None.
    """
    network.train()
    graph = any(proxy.needs_gradients for proxy in proxies.values())
    images = batch.images.detach().requires_grad_(graph)
    with torch.set_grad_enabled(graph), ExitStack() as stack:
        recording = any(proxy.needs_layers for proxy in proxies.values())
        layers = stack.enter_context(record_layers(network)) if recording else ()
        observed = {
            name: stack.enter_context(proxy.observe(network)) for name, proxy in proxies.items()
        }
        first = {} if blocks is None else {"blocks": blocks}
        with runtime.autocast():
            outputs = cast(Network, network).outputs(images, **first)
    gradients, shared = None, Shared()
    if graph:
        logits = outputs.logits if runtime.precision == "32-true" else outputs.logits.float()
        gradients = Gradients(network, MiniBatch(images, batch.labels), logits, layers, shared)
    return Forward(outputs, observed, layers, gradients, shared)


class PrefixCache:
    """Maps of network prefixes that candidates have in common; the least recently used go first.

    Equal names and shapes have equal parameters in every candidate and all see the same
    mini-batch, so candidates whose first blocks are alike have bit-equal maps there. One cache
    serves one `Scorer` in one process and keeps ``limit`` bytes.
    """

    def __init__(self, limit: int = 512 * 2**20) -> None:
        self._limit, self._bytes = limit, 0
        self._maps: OrderedDict[Hashable, Tensor] = OrderedDict()

    def longest(self, keys: Sequence[Hashable]) -> list[Tensor]:
        """The maps of the longest known prefix, shallowest first."""
        known = list(takewhile(self._maps.__contains__, keys))
        for key in known:
            self._maps.move_to_end(key)
        return [self._maps[key] for key in known]

    def store(self, keys: Sequence[Hashable], maps: Sequence[Tensor]) -> None:
        """Keep each map under its key."""
        for key, kept in zip(keys, maps, strict=False):
            if key not in self._maps:
                self._maps[key] = kept
                self._bytes += kept.nbytes
        while self._bytes > self._limit:
            self._bytes -= self._maps.popitem(last=False)[1].nbytes
