"""Work that proxies share: layers and gradients of one forward pass, results computed once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from diswot.data import MiniBatch

__all__ = ["Gradients", "Layer", "Shared", "record_layers", "watch_relus", "weighted", "weights"]

T = TypeVar("T")


@dataclass(frozen=True)
class Layer:
    """A call of a convolution or linear layer; its output, ``(B, C, ...)``, leads to the logits."""

    name: str
    module: nn.Module
    output: Tensor


def weighted(network: nn.Module) -> dict[str, nn.Module]:
    """Convolutions and linear layers by path, in the network's order."""
    kinds = (nn.modules.conv._ConvNd, nn.Linear)
    return {name: module for name, module in network.named_modules() if isinstance(module, kinds)}


def weights(network: nn.Module) -> dict[str, Tensor]:
    """Weights of convolutions and linear layers by path, without biases."""
    return {name: module.get_parameter("weight") for name, module in weighted(network).items()}


@contextmanager
def record_layers(network: nn.Module) -> Iterator[list[Layer]]:
    """Record every call of a convolution or linear layer, in order."""
    calls: list[Layer] = []

    def record(name: str, module: nn.Module, inputs: Any, output: Tensor) -> None:
        calls.append(Layer(name, module, output))

    with ExitStack() as hooks:
        for name, module in weighted(network).items():
            hooks.enter_context(module.register_forward_hook(partial(record, name)))
        yield calls


@contextmanager
def watch_relus(
    network: nn.Module, hook: Callable[[nn.Module, tuple[Tensor, ...]], None]
) -> Iterator[None]:
    """Call ``hook`` with module and inputs before every call of a ReLU or ReLU6 module.

    Modules are told by type and not by class name: a container called ``ReLUConvBN`` is none.
    """
    with ExitStack() as hooks:
        for module in network.modules():
            if isinstance(module, nn.ReLU | nn.ReLU6):
                hooks.enter_context(module.register_forward_pre_hook(hook))
        yield


class Shared:
    """Work that several proxies of one candidate ask for: done once, counted for each of them."""

    def __init__(self) -> None:
        self._done: dict[str, Any] = {}
        self._seconds: dict[str, float] = {}
        self._used: set[str] = set()
        self._before: set[str] = set()

    def get(self, name: str, compute: Callable[[], T]) -> T:
        """The result of ``compute`` at the first call with ``name``."""
        self._used.add(name)
        if name not in self._done:
            started = time.perf_counter()
            self._done[name] = compute()
            self._seconds[name] = time.perf_counter() - started
        result: T = self._done[name]
        return result

    def restart(self) -> None:
        """Begin to count for the next proxy."""
        self._before = set(self._seconds)
        self._used.clear()

    @property
    def reused_seconds(self) -> float:
        """Seconds of what was used since `restart` and had been computed before it."""
        return sum(self._seconds[name] for name in self._used & self._before)


class Gradients:
    """Gradients through one forward pass; each backward pass runs when first asked, and once.

    A tensor that the passes do not reach has a gradient of zeros. The batch's images require
    gradients, the logits ``(B, K)`` and the layers of `record_layers` are the pass's; ``shared``
    keeps what is computed.
    """

    def __init__(
        self,
        network: nn.Module,
        batch: MiniBatch,
        logits: Tensor,
        layers: Sequence[Layer] = (),
        shared: Shared | None = None,
    ) -> None:
        self._weights = weights(network)
        self._batch = batch
        self._logits = logits
        self._layers = layers
        self._shared = shared or Shared()

    @property
    def weights(self) -> dict[str, Tensor]:
        """Of the mean cross-entropy, to every convolution's and linear layer's weight, by path."""
        return dict(zip(self._weights, self._loss()[: len(self._weights)], strict=True))

    @property
    def outputs(self) -> list[Tensor]:
        """Of the mean cross-entropy, to the output of every recorded layer, in call order."""
        return self._loss()[len(self._weights) :]

    @property
    def images(self) -> Tensor:
        """Of the sum of all logits, to the images, ``(B, C, H, W)``."""

        def compute() -> list[Tensor]:
            return _backward(self._logits.sum(), [self._batch.images])

        return self._shared.get("gradients of the logits", compute)[0]

    def _loss(self) -> list[Tensor]:
        def compute() -> list[Tensor]:
            loss = F.cross_entropy(self._logits, self._batch.labels)
            outputs = (layer.output for layer in self._layers)
            return _backward(loss, [*self._weights.values(), *outputs])

        return self._shared.get("gradients of the loss", compute)


def _backward(scalar: Tensor, inputs: Sequence[Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad(scalar, inputs, retain_graph=True, materialize_grads=True))
