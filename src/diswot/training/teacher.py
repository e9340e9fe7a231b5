"""A trained teacher as training uses it: frozen, folded, outside of all that is saved."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Self, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from diswot.models.outputs import Network, NetworkOutputs

__all__ = ["FrozenTeacher", "fold_batch_norms", "only_logits"]

_ROUNDING = 1e-3
"""Largest difference that rounding makes, as a share of the largest value of a tensor."""


class FrozenTeacher:
    """Runs a teacher in eval mode and without a graph.

    It is no ``nn.Module``, so that it never gets into a checkpoint, an optimiser or DDP.

    Args:
        network: With its trained weights; it is changed (frozen, folded) and moved.
        images: A few images, ``(B, C, H, W)``.
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
        """One forward pass.

        Args:
            images: ``(B, C, H, W)``, normalised.
            logits_only: Leave stages and embedding empty, which is quicker.
        """
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
    outputs = network.outputs(images)
    return [*outputs.stages, *outputs.preactivations, outputs.embedding, outputs.logits]


def _close(one: Tensor, other: Tensor) -> bool:
    return bool(((one - other).abs() <= _ROUNDING * float(other.abs().max())).all())


def _foldable(module: nn.Module) -> bool:
    return type(module) is nn.BatchNorm2d and module.running_mean is not None


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
            if type(module) is nn.Conv2d or _foldable(module):
                hooks.enter_context(module.register_forward_hook(remember))
                hooks.enter_context(module.register_forward_pre_hook(compare))
        network(images)
    return [pair for pair in pairs if all(calls.get(module) == 1 for module in pair)]
