"""Work that proxies share: layers and gradients of one forward pass, results computed once."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from diswot.data import MiniBatch
from diswot.models.cells import Cell, DownBlock
from diswot.models.resnet import ResidualBlock, WideBlock
from diswot.models.transformers import TransformerBlock

T = TypeVar("T")
Hook = TypeVar("Hook", bound=Callable[[nn.Module, tuple[Tensor, ...]], None])
_CHANNELS_FIRST = (nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase, nn.GroupNorm)
RELUS = (nn.ReLU, nn.ReLU6)
MINI_BATCH = "mini-batch"
"""Name of the forward pass that all proxies share."""


def channels_first(module: nn.Module, tensor: Tensor) -> Tensor:
    """What a module takes or gives as ``(B, C, ...)``: tokens ``(B, N, C)`` as ``(B, C, N)``.

    Tokens are what has three axes, but for convolutions and norms over channels, and what a linear
    layer has of more than two.
    """
    if isinstance(module, _CHANNELS_FIRST):
        return tensor
    tokens = tensor.ndim == 3 or (tensor.ndim > 3 and isinstance(module, nn.Linear))
    return tensor.movedim(-1, 1) if tokens else tensor


@dataclass(frozen=True, eq=False)
class Layer:
    """A call of a convolution or linear layer: its input and output, ``(B, C, ...)``.

    ``tensors`` are both as they were called with, see `channels_first`; ``values`` is what `value`
    has computed of it. Where candidates share the layer it is not run again, and where nobody reads
    tensors they are not kept: then this is all there is, and reading input or output raises
    `ValueError`.
    """

    name: str
    module: nn.Module
    tensors: tuple[Tensor, Tensor] | None
    values: dict[str, Any] = field(default_factory=dict)

    @property
    def input(self) -> Tensor:
        """What it was called with."""
        return channels_first(self.module, self.called()[0])

    @property
    def output(self) -> Tensor:
        """What it gave."""
        return channels_first(self.module, self.called()[1])

    def called(self) -> tuple[Tensor, Tensor]:
        """Input and output as they were, tokens with their channels last."""
        if self.tensors is None:
            raise ValueError(f"tensors of {self.name} were not kept: use Layer.value")
        return self.tensors

    def value(self, name: str, compute: Callable[["Layer"], T]) -> T:
        """What is computed of the layer alone; of layers that candidates share, once for all."""
        if name not in self.values:
            self.values[name] = compute(self)
        result: T = self.values[name]
        return result

    def detached(self) -> "Layer":
        """The same call outside the graph."""
        tensors = self.tensors and (self.tensors[0].detach(), self.tensors[1].detach())
        return replace(self, tensors=tensors)


LayerValues = Mapping[str, Callable[[Layer], Any]]
"""What is computed of every layer, by the name that `Layer.value` knows it by."""


def weighted(network: nn.Module) -> dict[str, nn.Module]:
    """Convolutions and linear layers by path, in the network's order."""
    kinds = (nn.modules.conv._ConvNd, nn.Linear)
    return {name: module for name, module in network.named_modules() if isinstance(module, kinds)}


def find_blocks(network: nn.Module) -> list[nn.Module]:
    """Residual and transformer blocks and cells, in order; none of an adapted classifier.

    None of these types contains another one, so that no module is in two blocks.
    """
    kinds = (ResidualBlock, WideBlock, Cell, DownBlock, TransformerBlock)
    return [module for module in network.modules() if isinstance(module, kinds)]


def weights(network: nn.Module) -> dict[str, Tensor]:
    """Weights of convolutions and linear layers by path, without biases."""
    return {name: module.get_parameter("weight") for name, module in weighted(network).items()}


@contextmanager
def record_layers(network: nn.Module, values: LayerValues | None = None) -> Iterator[list[Layer]]:
    """Record every call of a convolution or linear layer, in order.

    With ``values`` these are computed as each layer runs, and its tensors are not kept.
    """
    calls: list[Layer] = []

    def record(name: str, module: nn.Module, inputs: Any, output: Tensor) -> None:
        layer = Layer(name, module, (inputs[0], output))
        if values is not None:
            with torch.no_grad(), torch.autocast(output.device.type, enabled=False):
                for key, compute in values.items():
                    layer.value(key, compute)
            layer = replace(layer, tensors=None)
        calls.append(layer)

    with ExitStack() as hooks:
        for name, module in weighted(network).items():
            hooks.enter_context(module.register_forward_hook(partial(record, name)))
        yield calls


def recorded_pass(
    network: nn.Module, images: Tensor, name: str, values: LayerValues | None = None
) -> Sequence[Layer]:
    """The layers of a pass on other images, without a graph; running statistics stay as they are.

    Passes of one ``name`` have the same images for all candidates of a run. ``values`` is that of
    `record_layers`.
    """
    buffers = {key: buffer.clone() for key, buffer in network.named_buffers()}
    with torch.no_grad(), record_layers(network, values) as layers:
        functional_call(network, buffers, images)
    return layers


@contextmanager
def watch_relus(
    network: nn.Module, hook: Hook, kinds: tuple[type[nn.Module], ...] = RELUS
) -> Iterator[Hook]:
    """Call ``hook`` with module and inputs before every call of a ReLU or ReLU6 module; give it.

    It is called for other ``kinds`` of modules if they are given.
    Modules are told by type and not by class name: a container called ``ReLUConvBN`` is none.
    """
    with ExitStack() as hooks:
        for module in network.modules():
            if isinstance(module, kinds):
                hooks.enter_context(module.register_forward_pre_hook(hook))
        yield hook


class Shared:
    """Work that several proxies of one candidate ask for: done once, counted for each of them."""

    def __init__(self) -> None:
        self._results: dict[str, Any] = {}
        self._seconds: dict[str, float] = {}
        self.restart()

    def restart(self) -> None:
        """Begin to count for the next proxy."""
        self.reused_seconds = 0.0
        """Of what was used since then and had been computed before."""
        self._counted: set[str] = set()

    def get(self, name: str, compute: Callable[[], T]) -> T:
        """The result of ``compute`` at the first call with ``name``."""
        if name not in self._results:
            started = time.perf_counter()
            self._results[name] = compute()
            self._seconds[name] = time.perf_counter() - started
        elif name not in self._counted:
            self.reused_seconds += self._seconds[name]
        self._counted.add(name)
        result: T = self._results[name]
        return result


@dataclass(frozen=True, eq=False)
class Gradients:
    """Gradients through one forward pass; each backward pass runs when first asked, and once.

    A tensor that the passes do not reach has a gradient of zeros. The batch's images require
    gradients, the logits ``(B, K)`` and the layers of `record_layers` are the pass's; ``shared``
    keeps what is computed.
    """

    network: nn.Module
    batch: MiniBatch
    logits: Tensor
    layers: Sequence[Layer] = ()
    shared: Shared = field(default_factory=Shared)

    @property
    def weights(self) -> dict[str, Tensor]:
        """Of the mean cross-entropy, to every convolution's and linear layer's weight, by path."""
        return dict(zip(weights(self.network), self._loss(), strict=False))

    @property
    def outputs(self) -> list[Tensor]:
        """Of the mean cross-entropy, to the output of every recorded layer, in call order."""
        gradients = self._loss()
        own = gradients[len(gradients) - len(self.layers) :]
        pairs = zip(self.layers, own, strict=True)
        return [channels_first(layer.module, gradient) for layer, gradient in pairs]

    @property
    def images(self) -> Tensor:
        """Of the sum of all logits, to the images, ``(B, C, H, W)``."""

        def compute() -> list[Tensor]:
            return _backward(self.logits.sum(), [self.batch.images])

        return self.shared.get("gradients of the logits", compute)[0]

    def _loss(self) -> list[Tensor]:
        def compute() -> list[Tensor]:
            loss = F.cross_entropy(self.logits, self.batch.labels)
            outputs = (layer.called()[1] for layer in self.layers)
            return _backward(loss, [*weights(self.network).values(), *outputs])

        return self.shared.get("gradients of the loss", compute)


def _backward(scalar: Tensor, inputs: Sequence[Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad(scalar, inputs, retain_graph=True, materialize_grads=True))
