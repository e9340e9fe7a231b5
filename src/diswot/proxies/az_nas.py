"""AZ-NAS: four scores of a network's blocks, whose ranks are combined."""

from collections.abc import Sequence
from contextlib import ExitStack
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from diswot.checks import choice
from diswot.keys import generator
from diswot.models.init import Kaiming
from diswot.models.outputs import Network
from diswot.models.transformers import TransformerBlock
from diswot.proxies import functional
from diswot.proxies.base import Components, Proxy, ProxyInput
from diswot.proxies.passes import find_blocks


class AZNAS(Proxy):
    """``Σ ln(rank / m)`` of expressivity, progressivity, trainability and complexity.

    Source: Lee and Ham, "AZ-NAS: Assembling Zero-Cost Proxies for Network Architecture Search",
    CVPR 2024. With s_l the `functional.covariance_entropy` of the map that leaves block l, block 0
    being the stem: ``expressivity`` is ``Σ_l s_l``, ``progressivity`` ``min_l (s_l − s_{l−1})``,
    ``trainability`` the mean `functional.jacobian_stability` of the blocks after the stem,
    ``complexity`` the MACs. Ranks are those among the m candidates seen so far.

    Blocks are residual blocks, cells and transformer blocks; in a network without any they are the
    stages, and the first one takes the stem's place. Transformers have no progressivity, as
    published for AutoFormer. Each block is differentiated by itself, in one forward pass in train
    mode, the batch as large as the mini-batch.

    Known weaknesses: expressivity and complexity both grow with depth and width, so that under no
    budget the largest networks win; trainability is a single random draw; a block that is the
    identity, which the released code ranks last, has no score here.

    Args:
        inputs: ``noise`` from N(0, 1) as published, or the mini-batch's ``images``.
        init: ``kaiming`` (fan-in) as published, or ``run`` for the weights of the run's ``init``.
    """

    needs_forward = False
    needs_gradients = True
    relative = True
    reported = ("inputs", "init")

    def __init__(self, *, name: str, inputs: str = "noise", init: str = "kaiming") -> None:
        super().__init__(name=name)
        self.inputs = choice(f"proxy.{name}.inputs", inputs, ("noise", "images"))
        self.init = choice(f"proxy.{name}.init", init, ("kaiming", "run"))

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`; fails where a block gives a constant, blocks gradients, or does nothing."""
        network, images = inputs.copy().requires_grad_(False), inputs.batch.images
        if self.init == "kaiming":
            Kaiming()(network, seed=inputs.seed, role="student")
        if self.inputs == "noise":
            images = inputs.noise("az_nas proxy", inputs.seed)
        entropies, stabilities = _blockwise(network, images, inputs.seed)
        if len(entropies) < 2:
            raise ValueError("the network has neither a block nor a second stage")
        components = {
            "expressivity": sum(entropies),
            "progressivity": min(after - before for before, after in pairwise(entropies)),
            "trainability": sum(stabilities) / len(stabilities),
            "complexity": float(inputs.cost.flops),
        }
        if any(isinstance(module, TransformerBlock) for module in network.modules()):
            del components["progressivity"]
        return components

    def fitness(self, components: Sequence[Components]) -> list[float]:
        """The logarithms of the ranks, added."""
        return functional.combine(components, "log_rank")


def _blockwise(network: nn.Module, images: Tensor, seed: int) -> tuple[list[float], list[float]]:
    """Entropies of the maps before the first and after every block; stabilities of the blocks."""
    entropies: list[float] = []
    stabilities: list[float] = []

    def entropy(features: Tensor) -> None:
        entropies.append(functional.covariance_entropy(features.detach()).item())

    def stability(before: Tensor, after: Tensor) -> None:
        if not after.requires_grad:
            raise ValueError("no gradient reaches a block's input")
        key = generator("az_nas proxy", seed, "signs", len(stabilities))
        signs = torch.randint(2, after.shape, generator=key).mul_(2).sub_(1).to(after)
        [gradient] = torch.autograd.grad(
            after, before, signs, retain_graph=True, materialize_grads=True
        )
        stabilities.append(functional.jacobian_stability(gradient, signs).item())

    def enter(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        if not entropies:
            entropy(args[0])
        return (args[0].detach().requires_grad_(),)

    def leave(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        entropy(output)
        stability(args[0], output)
        return output.detach()

    with torch.enable_grad(), ExitStack() as hooks:
        if blocks := find_blocks(network):
            for block in blocks:
                hooks.enter_context(block.register_forward_pre_hook(enter))
                hooks.enter_context(block.register_forward_hook(leave))
            network(images)
        else:
            maps = cast(Network, network).outputs(images.detach().requires_grad_()).stages
            for features in maps:
                entropy(features)
            for before, after in pairwise(maps):
                stability(before, after)
    return entropies, stabilities
