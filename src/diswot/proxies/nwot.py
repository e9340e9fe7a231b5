"""NWOT as a proxy."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from diswot.proxies.base import Components, Proxy, ProxyInput
from diswot.proxies.functional import activation_agreement, log_determinant

__all__ = ["NWOT"]


class _Agreement:
    """Adds up the agreement of every ReLU call.

    Several ReLUs may look at one tensor, as the edges that leave a node of a cell do: its
    agreement is computed once.
    """

    def __init__(self) -> None:
        self.kernel: Tensor | None = None
        self._recent: deque[tuple[Tensor, Tensor]] = deque(maxlen=4)

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        agreement = self._agreement(inputs[0])
        self.kernel = agreement if self.kernel is None else self.kernel + agreement

    def _agreement(self, tensor: Tensor) -> Tensor:
        for seen, agreement in self._recent:
            if seen is tensor:
                return agreement
        agreement = activation_agreement(tensor.detach())
        self._recent.append((tensor, agreement))
        return agreement


class NWOT(Proxy):
    """``ln |det K|`` with K the agreement of ReLU patterns, added over all ReLU calls.

    Source: Mellor et al., "Neural Architecture Search without Training", ICML 2021. Counted are
    the calls of ``nn.ReLU`` and ``nn.ReLU6`` modules, by type and not by class name, so that a
    container called ``ReLUConvBN`` does not count twice.
    """

    @contextmanager
    def observe(self, network: nn.Module) -> Iterator[_Agreement]:
        """Hook every ReLU."""
        agreement = _Agreement()
        relus = [module for module in network.modules() if isinstance(module, nn.ReLU | nn.ReLU6)]
        handles = [relu.register_forward_pre_hook(agreement) for relu in relus]
        try:
            yield agreement
        finally:
            for handle in handles:
                handle.remove()

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`.

        Raises:
            ValueError: The network calls no ReLU module, or its ReLUs do not tell samples apart.
        """
        kernel = inputs.observed.kernel
        if not isinstance(kernel, torch.Tensor):
            raise ValueError("the network calls no nn.ReLU or nn.ReLU6 module")
        value = log_determinant(kernel).item()
        if value == -math.inf:
            raise ValueError("two samples switch all ReLUs alike, so the kernel is singular")
        return {"nwot": value}
