"""Random initialisation of networks, with a key for every parameter."""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from diswot.checks import positive
from diswot.keys import generator

_BatchNorm = nn.modules.batchnorm._NormBase


class Initializer(ABC):
    """Draws a network's parameters.

    Weights are drawn on the CPU in float32 from a generator keyed by (seed, role, full
    parameter name, shape): equal names and shapes get equal weights in every candidate, and
    another role (``student`` or ``teacher``) gets others. Biases are zero, normalisation
    layers the identity, other vectors ones.
    """

    def __call__(self, network: nn.Module, *, seed: int, role: str, prefix: str = "") -> None:
        """Set every parameter and running statistic of ``network`` in place.

        Of a part of a network ``prefix`` is where it is in it, such as ``layer1.0``.
        """
        with torch.no_grad():
            for path, module in network.named_modules(prefix=prefix):
                if isinstance(module, _BatchNorm):
                    module.reset_running_stats()
                norm = isinstance(module, _BatchNorm | nn.GroupNorm | nn.LayerNorm)
                for name, parameter in module.named_parameters(path, recurse=False):
                    if norm or parameter.ndim < 2:
                        parameter.fill_(0.0 if name.endswith("bias") else 1.0)
                        continue
                    key = generator(seed, role, name, list(parameter.shape))
                    draw = torch.empty(parameter.shape).normal_(generator=key)
                    parameter.copy_(draw * self.std(parameter))

    @abstractmethod
    def std(self, weight: Tensor) -> float:
        """Standard deviation of a weight, ``(out, in, ...)``."""


class Gaussian(Initializer):
    """N(0, std²) for every weight, as DisWOT's and ZenNAS's released code; ``std`` is positive."""

    def __init__(self, *, std: float = 1.0) -> None:
        self._std = positive("init.std", std)

    def std(self, weight: Tensor) -> float:
        """The same for all."""
        return self._std


class Kaiming(Initializer):
    """N(0, gain² / fan_in), He et al., "Delving Deep into Rectifiers", ICCV 2015.

    A positive ``gain``, √2 for ReLU; fan_in is the number of inputs of one output.
    """

    def __init__(self, *, gain: float = math.sqrt(2.0)) -> None:
        self._gain = positive("init.gain", gain)

    def std(self, weight: Tensor) -> float:
        """``gain / sqrt(fan_in)``."""
        return self._gain / math.sqrt(weight[0].numel())
