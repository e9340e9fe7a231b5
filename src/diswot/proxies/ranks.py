"""Proxies of the rank of a network's activations."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from diswot.checks import choice
from diswot.keys import generator
from diswot.proxies import functional
from diswot.proxies.base import Components, Proxy, ProxyInput
from diswot.proxies.passes import channels_first


class NEAR(Proxy):
    """``Σ erank`` of the activation matrices before and after every activation function.

    Matrices are the outputs of all convolutions, linear and normalisation layers (pre-activations)
    and of all modules of ``torch.nn``'s activation functions (post-activations), as in the released
    code, a row an image and position, a column a channel, not centred; erank is
    `functional.activation_rank`. Source: Husistein et al., "NEAR: A Training-Free Pre-Estimator of
    Machine Learning Model Performance", ICLR 2025. The release averages several initialisations
    and takes further batches where a layer has fewer rows than channels; here it is the run's
    initialisation and its mini-batch, in train mode, so that B·H·W bounds a rank.

    It adds up over modules and channels and so follows depth times width. The rows of a square
    matrix are neighbours in one image or two, which correlate: its rank is far below that of all
    rows, and depends on which are drawn.

    Args:
        rows: ``square``: as many rows in a row as there are channels, from a random one on (as
            published; drawn by the number of the call); ``all``: every image and position.
    """

    reported = ("rows",)

    def __init__(self, *, name: str, rows: str = "square") -> None:
        super().__init__(name=name)
        self.rows = choice(f"proxy.{name}.rows", rows, ("square", "all"))

    @contextmanager
    def observe(self, network: nn.Module) -> Iterator[list[Tensor]]:
        """Keep the matrix, or of all rows the Gram matrix's root, of every module's output."""
        ranks: list[Tensor] = []
        with ExitStack() as hooks:
            for module in network.modules():
                if hasattr(module, "weight") or _is_activation(module):
                    hook = partial(self._record, ranks)
                    hooks.enter_context(module.register_forward_hook(hook))
            yield ranks

    def _record(self, ranks: list[Tensor], module: nn.Module, inputs: Any, output: Tensor) -> None:
        rows = channels_first(module, output.detach()).movedim(1, -1).flatten(0, -2)
        width = rows.shape[1]
        if self.rows == "square" and len(rows) > width:
            key = generator("near proxy", len(ranks), *rows.shape)
            start = int(torch.randint(len(rows) - width + 1, (), generator=key))
            rows = rows[start : start + width]
        ranks.append(functional.activation_rank(rows))

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`; fails where no module gives an activation."""
        if not inputs.observed:
            raise ValueError("the network calls no layer and no activation function")
        return {self.name: torch.stack(inputs.observed).sum().item()}


def _is_activation(module: nn.Module) -> bool:
    kind = nn.modules.activation
    return isinstance(module, tuple(getattr(kind, name) for name in kind.__all__)) and not (
        isinstance(module, nn.MultiheadAttention)
    )
