"""Folds BatchNorm into the convolutions before it, for networks that only evaluate."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from diswot.models.outputs import Network

__all__ = ["fold_batch_norms"]

_ROUNDING = 1e-3
"""Largest difference that rounding makes, as a share of the largest value of a tensor."""


def fold_batch_norms(network: nn.Module, images: Tensor) -> int:
    """Replace every pair of convolution and BatchNorm by one convolution, in place.

    Pairs are found by running the network: a BatchNorm whose input is the very tensor that a
    convolution gave, both used once. What does not come in such pairs stays as it is, and so does
    a network that reads what a convolution gave elsewhere too, which its outputs show.

    Args:
        network: In eval mode; its outputs change by rounding alone.
        images: A few images it takes, ``(B, C, H, W)``.

    Returns:
        How many pairs were folded.
    """
    pairs = _pairs(network, images)
    names = {module: name for name, module in network.named_modules()}
    before = _outputs(network, images)
    for convolution, norm in pairs:
        network.set_submodule(names[convolution], fuse_conv_bn_eval(convolution, norm))
        network.set_submodule(names[norm], nn.Identity().eval())
    if all(map(_close, _outputs(network, images), before)):
        return len(pairs)
    for convolution, norm in pairs:
        network.set_submodule(names[convolution], convolution)
        network.set_submodule(names[norm], norm)
    return 0


@torch.no_grad()
def _outputs(network: nn.Module, images: Tensor) -> list[Tensor]:
    if not isinstance(network, Network):
        return [network(images)]
    found = network.outputs(images)
    return [*found.stages, *found.preactivations, found.embedding, found.logits]


def _close(one: Tensor, other: Tensor) -> bool:
    bound = _ROUNDING * float(other.abs().max())
    return bool(((one - other).abs() <= bound).all())


def _foldable(module: nn.Module) -> bool:
    return type(module) is nn.BatchNorm2d and module.running_mean is not None


def _pairs(network: nn.Module, images: Tensor) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    gave: dict[int, tuple[nn.Conv2d, Tensor]] = {}
    calls: dict[nn.Module, int] = {}
    found: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []

    def remember(module: nn.Module, _: object, output: Tensor) -> None:
        calls[module] = calls.get(module, 0) + 1
        if isinstance(module, nn.Conv2d):
            gave[id(output)] = module, output  # kept alive, so that no other tensor gets its id

    def compare(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(module, nn.BatchNorm2d) and id(inputs[0]) in gave:
            found.append((gave[id(inputs[0])][0], module))

    with ExitStack() as hooks, torch.no_grad():
        for module in network.modules():
            if type(module) is nn.Conv2d or _foldable(module):
                hooks.enter_context(module.register_forward_hook(remember))
                hooks.enter_context(module.register_forward_pre_hook(compare))
        network(images)
    once: Callable[[nn.Module], bool] = lambda module: calls.get(module) == 1  # noqa: E731
    return [(conv, norm) for conv, norm in found if once(conv) and once(norm)]
