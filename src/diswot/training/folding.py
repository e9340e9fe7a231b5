"""Folds BatchNorm into the convolutions before it, for networks that only evaluate."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

__all__ = ["fold_batch_norms"]


def fold_batch_norms(network: nn.Module, images: Tensor) -> int:
    """Replace every pair of convolution and BatchNorm by one convolution, in place.

    Pairs are found by running the network: a BatchNorm whose input is the very tensor that a
    convolution gave, both used once. What does not come in such pairs stays as it is.

    Args:
        network: In eval mode; its outputs change by rounding alone.
        images: A few images it takes, ``(B, C, H, W)``.

    Returns:
        How many pairs were folded.
    """
    pairs = _pairs(network, images)
    names = {module: name for name, module in network.named_modules()}
    for convolution, norm in pairs:
        fused = fuse_conv_bn_eval(convolution, norm)
        network.set_submodule(names[convolution], fused)
        network.set_submodule(names[norm], nn.Identity())
    return len(pairs)


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
            if type(module) in (nn.Conv2d, nn.BatchNorm2d):
                hooks.enter_context(module.register_forward_hook(remember))
                hooks.enter_context(module.register_forward_pre_hook(compare))
        network(images)
    once: Callable[[nn.Module], bool] = lambda module: calls.get(module) == 1  # noqa: E731
    return [(conv, norm) for conv, norm in found if once(conv) and once(norm)]
