"""WRCor: correlation of the images' activations and gradients, weighted by depth."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diswot.proxies import functional
from diswot.proxies.base import Components, Proxy, ProxyInput
from diswot.proxies.passes import find_blocks, watch_relus


class WRCor(Proxy):
    """``ln |det Σ_l 2^l Σ_i (|C^A_li| + |C^G_li|)|`` over the ReLU calls i of every block l.

    Source: Jing et al., "Zero-Shot Neural Architecture Search with Weighted Response Correlation",
    arXiv 2507.08841, 2025, equations 10 and 11. C^A is the images' correlation of what enters a
    ReLU, C^G that of the gradient of the mean cross-entropy by it, in the shared pass in train
    mode; see `functional.weighted_response_correlation`. A map that several ReLUs read counts for
    each of them, with its whole gradient. Blocks are residual blocks and cells, from 1 up; ReLUs
    before them have l = 0, those after them one more than the last block. In a network without such
    blocks every ReLU call counts as a block of its own. Counted are ``nn.ReLU`` and ``nn.ReLU6``.

    Known weaknesses: as the weights are not normalised, each block adds about B ln 2 for B images,
    whatever it does: between depths the score is the number of blocks. The last few blocks make up
    nearly all of the matrix. BatchNorm in train mode makes the gradients of images correlate. An
    image whose gradient is zero everywhere, such as one of which the network is certain, takes C^G
    of all images with it.
    """

    needs_labels = True
    needs_gradients = True

    @contextmanager
    def observe(self, network: nn.Module) -> Iterator[list[tuple[int, Tensor]]]:
        """Keep the depth and the input of every ReLU call."""
        depths, calls = _depths(network), list[tuple[int, Tensor]]()

        def record(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            calls.append((depths.get(module, len(calls) + 1), inputs[0]))

        with watch_relus(network, record):
            yield calls

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`; fails without a ReLU, and where images cannot be told apart."""
        calls = inputs.observed
        if not calls:
            raise ValueError("the network calls no nn.ReLU or nn.ReLU6 module")
        maps = {id(entered): entered for _, entered in calls}
        loss = F.cross_entropy(inputs.outputs.logits.double(), inputs.batch.labels)
        varying = {key: entered for key, entered in maps.items() if entered.requires_grad}
        gradients = torch.autograd.grad(
            loss, list(varying.values()), retain_graph=True, materialize_grads=True
        )
        correlations = {
            key: [functional.response_correlation(each) for each in (entered.detach(), gradient)]
            for (key, entered), gradient in zip(varying.items(), gradients, strict=True)
        }
        value = functional.weighted_response_correlation(
            (depth, each) for depth, entered in calls for each in correlations.get(id(entered), [])
        ).item()
        if value == -math.inf:
            raise ValueError("two images respond alike everywhere, so the matrix is singular")
        return {"wrcor": value}


def _depths(network: nn.Module) -> dict[nn.Module, int]:
    """The block that each module is in, in the order of registration; empty without blocks."""
    blocks = find_blocks(network)
    inside = {module: i for i, block in enumerate(blocks, start=1) for module in block.modules()}
    depths, begun = {}, False
    for module in network.modules():
        begun = begun or module in inside
        depths[module] = inside.get(module, len(blocks) + 1 if begun else 0)
    return depths if blocks else {}
