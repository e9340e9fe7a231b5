"""Proxies that count sample-wise activation patterns."""

import math
from collections import deque
from contextlib import AbstractContextManager

from torch import Tensor, nn

from diswot.checks import number, positive
from diswot.proxies import functional
from diswot.proxies.base import Components, Proxy, ProxyInput
from diswot.proxies.functional.patterns import Codes
from diswot.proxies.passes import RELUS, watch_relus


class _Patterns:
    """Keeps the patterns of every call, those of calls with one tensor once."""

    def __init__(self) -> None:
        self.codes: list[Codes] = []
        self._recent: deque[Tensor] = deque(maxlen=4)

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if not any(seen is inputs[0] for seen in self._recent):
            self._recent.append(inputs[0])
            self.codes.append(functional.sample_patterns(inputs[0].detach()))


class SWAP(Proxy):
    """SWAP-Score: how many distinct patterns the ReLU units of the network have.

    A unit's pattern says for which images of the mini-batch it is on; units of all ``nn.ReLU`` and
    ``nn.ReLU6`` calls are pooled and each pattern counts once. So are those of ``nn.GELU`` calls,
    of transformers, which the paper does not speak of: there a unit with a positive input is on.
    Source: Peng et al., "SWAP-NAS: Sample-Wise Activation Patterns for Ultra-fast NAS", ICLR 2024.
    The released code averages 32 initialisations on 16 images; here it is one, that of the run, on
    the mini-batch.

    B images have 2^B patterns: of a small mini-batch all networks have all of them and score the
    same, of a large one every unit has its own and the score is the number of units.
    """

    def observe(self, network: nn.Module) -> AbstractContextManager[_Patterns]:
        """Hook every ReLU and GELU."""
        return watch_relus(network, _Patterns(), (*RELUS, nn.GELU))

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`; fails without such a module."""
        return {self.name: float(_count(inputs.observed))}


class RegularisedSWAP(SWAP):
    """``ln(SWAP) − (params − mu)² / sigma``, params in thousands: the published score's logarithm.

    Published is ``SWAP · exp(−(params − mu)² / sigma)``, which ranks alike but is 0 in floating
    point for all networks some hundred thousand parameters from mu; its logarithm never is.
    Source: Peng et al., ICLR 2024; see `SWAP`.

    mu and sigma are of the search space: they say which size is best, and far from mu the score is
    a distance of sizes alone. The paper chooses them for each space and uses them to set the size
    that a search finds; the released code has no default, and those of the YAML (a million
    parameters, give or take as many) only keep the two terms comparable. Give your own.

    Args:
        mu: The preferred number of parameters, in thousands.
        sigma: How much of a difference is let pass, in squared thousands.
    """

    reported = ("mu", "sigma")

    def __init__(self, *, name: str, mu: float, sigma: float) -> None:
        super().__init__(name=name)
        self.mu = number(f"proxy.{name}.mu", mu, low=0)
        self.sigma = positive(f"proxy.{name}.sigma", sigma)

    def measure(self, inputs: ProxyInput) -> Components:
        """See `Proxy`; fails as `SWAP` does."""
        distance = (inputs.cost.params / 1e3 - self.mu) ** 2 / self.sigma
        return {self.name: math.log(_count(inputs.observed)) - distance}


def _count(patterns: _Patterns) -> int:
    if not patterns.codes:
        raise ValueError("the network calls no nn.ReLU, nn.ReLU6 or nn.GELU module")
    return functional.distinct_patterns(patterns.codes)
