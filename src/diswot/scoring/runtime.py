"""Forward passes of untrained networks: device, precision, threads, and what proxies read."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
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
from diswot.models.resnet import StagedNetwork
from diswot.proxies.base import Proxy, layer_values
from diswot.proxies.passes import MINI_BATCH, Gradients, Layer, Shared, record_layers, recorded_pass

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
    blocks: FirstBlocks | None = None,
) -> Forward:
    """One forward pass in train mode, watched by the proxies that look at it.

    Network and mini-batch are on the runtime's device; a graph is recorded only where a proxy
    needs it, the tensors of layers are kept only where a proxy reads them. The first ``blocks`` are
    those of a `StagedNetwork`.
    """
    network.train()
    graph = any(proxy.needs_gradients for proxy in proxies.values())
    images = batch.images.detach().requires_grad_(graph)
    with torch.set_grad_enabled(graph), ExitStack() as stack:
        reading = [proxy for proxy in proxies.values() if proxy.needs_layers]
        values = None if graph else layer_values(reading, MINI_BATCH)
        layers = stack.enter_context(record_layers(network, values)) if reading else ()
        observed = {
            name: stack.enter_context(proxy.observe(network)) for name, proxy in proxies.items()
        }
        first = {} if blocks is None else {"blocks": blocks.maps}
        with runtime.autocast():
            outputs = cast(Network, network).outputs(images, **first)
    if blocks is not None:
        layers = blocks.layers(cast(StagedNetwork, network), layers)
    gradients, shared = None, Shared()
    if graph:
        logits = outputs.logits if runtime.precision == "32-true" else outputs.logits.float()
        gradients = Gradients(network, MiniBatch(images, batch.labels), logits, layers, shared)
    return Forward(outputs, observed, layers, gradients, shared)


class Block(NamedTuple):
    """What is kept of a block: its map before the last ReLU, and its layers' values by name."""

    map: Tensor
    values: Mapping[str, dict[str, Any]]

    @property
    def nbytes(self) -> int:
        """Bytes of its tensors."""
        values = (value for own in self.values.values() for value in own.values())
        return self.map.nbytes + sum(v.nbytes for v in values if isinstance(v, Tensor))


class PrefixCache:
    """First blocks that candidates have in common; the least recently used go first.

    Equal names and shapes have equal parameters in every candidate and all see the same
    mini-batch, so candidates whose first blocks are alike have bit-equal maps there. One cache
    serves one `Scorer` in one process and keeps ``limit`` bytes.
    """

    def __init__(self, limit: int = 128 * 2**20) -> None:
        self.limit, self._bytes = limit, 0
        self._blocks: OrderedDict[Hashable, Block] = OrderedDict()

    def longest(self, keys: Sequence[Hashable]) -> list[Block]:
        """The longest known prefix, shallowest block first."""
        known = list(takewhile(self._blocks.__contains__, keys))
        for key in known:
            self._blocks.move_to_end(key)
        return [self._blocks[key] for key in known]

    def store(self, keys: Sequence[Hashable], blocks: Sequence[Block]) -> None:
        """Keep each block under its key; keys may be more."""
        for key, block in zip(keys, blocks, strict=False):
            if key not in self._blocks:
                self._blocks[key] = block
                self._bytes += block.nbytes
        while self._bytes > self.limit:
            self._bytes -= self._blocks.popitem(last=False)[1].nbytes


class _Maps(list[Tensor]):
    """Maps of first blocks; of a pass whose maps have more than ``limit`` bytes none is kept."""

    def __init__(self, known: Iterable[Tensor], limit: int) -> None:
        super().__init__(known)
        self._room = limit - sum(each.nbytes for each in self)

    def append(self, item: Tensor) -> None:
        """Keep one more, or let all go."""
        self._room -= item.nbytes
        if self._room >= 0:
            super().append(item)
        else:
            self.clear()


class FirstBlocks:
    """The blocks of one pass of a candidate: those known from earlier ones, then its own.

    ``maps`` is for `StagedNetwork.outputs`, which appends to it. A pass that would take more than
    half of the cache is not kept: it would drive out the others.
    """

    def __init__(self, cache: PrefixCache, keys: Sequence[Hashable]) -> None:
        self._cache, self._keys, self._known = cache, keys, cache.longest(keys)
        self._values: list[dict[str, dict[str, Any]]] = [{} for _ in keys[len(self._known) :]]
        self.maps = _Maps((block.map for block in self._known), cache.limit // 2)

    def layers(self, network: StagedNetwork, recorded: Sequence[Layer]) -> list[Layer]:
        """Layers of the known blocks, of which there are values alone, and those that ran."""
        for layer in recorded:
            if (number := network.block_of(layer.name)) is not None:
                self._values[number - len(self._known)][layer.name] = layer.values
        known = [
            Layer(name, network.get_submodule(name), None, values)
            for block in self._known
            for name, values in block.values.items()
        ]
        return [*known, *recorded]

    def keep(self) -> None:
        """Keep the blocks for others, once every value that is wanted of them was computed."""
        new = map(Block, self.maps[len(self._known) :], self._values)  # of those with a map
        self._cache.store(self._keys, [*self._known, *new])


class SharedBlocks:
    """The passes of one candidate, whose first blocks have ``keys``, see `Space.prefixes`.

    Of layers in further passes the ``proxies`` read what they declare in `Proxy.layer_values`.
    """

    def __init__(
        self, cache: PrefixCache, keys: Sequence[Hashable], proxies: Sequence[Proxy] = ()
    ) -> None:
        self._cache, self._keys, self._proxies = cache, keys, proxies
        self._passes: list[FirstBlocks] = []

    def of(self, name: str) -> FirstBlocks | None:
        """The blocks of one more pass; of equal names, passes have the same images."""
        if not self._keys:
            return None
        self._passes.append(FirstBlocks(self._cache, [(name, key) for key in self._keys]))
        return self._passes[-1]

    def recorded_pass(self, network: nn.Module, images: Tensor, name: str) -> Sequence[Layer]:
        """See `diswot.proxies.passes.recorded_pass`."""
        values = layer_values(self._proxies, name)
        if (blocks := self.of(name)) is None:
            return recorded_pass(network, images, name, values)
        staged = cast(StagedNetwork, network)
        before = {key: buffer.clone() for key, buffer in network.named_buffers()}
        with torch.no_grad(), record_layers(network, values) as layers:
            staged.outputs(images, blocks.maps)
            for key, buffer in network.named_buffers():
                buffer.copy_(before[key])
        return blocks.layers(staged, layers)

    def keep(self) -> None:
        """See `FirstBlocks.keep`."""
        for each in self._passes:
            each.keep()
