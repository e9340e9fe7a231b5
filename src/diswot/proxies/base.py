"""The proxy interface: its inputs, the components of its score, and their combination."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from diswot.data import MiniBatch
from diswot.keys import generator
from diswot.models.outputs import Cost, NetworkOutputs
from diswot.proxies.passes import MINI_BATCH, Gradients, Layer, LayerValues, Shared, recorded_pass

COMBINATIONS = ("sum", "zscore", "rank", "log_rank")

Components = dict[str, float]
"""Components of a score, by name."""

Summary = Mapping[str, Tensor]
"""Tensors that a proxy keeps of the teacher, by name."""


@dataclass(frozen=True)
class ProxyContext:
    """Facts of a run that are known before the first candidate is scored.

    Widths are channels of the embedding before the classifier; the students' is None where
    candidates differ. Without a teacher its name and width are None.
    """

    space: str
    student_width: int | None
    teacher: str | None
    teacher_width: int | None
    num_classes: int


@dataclass(frozen=True)
class ProxyInput:
    """Inputs of one proxy for one candidate.

    What a proxy does not ask for (`Proxy.needs_network` and the like) is None or empty; the types
    are those for a proxy that asks. Outputs, layers and gradients are of one forward pass.

    Attributes:
        arch: Text form of the architecture.
        batch: The mini-batch, on the network's device, images in channels_last.
        network: The network in train mode; to run it again, take `copy`.
        layers: Convolutions and linear layers in the order that the pass called them.
        observed: What this proxy's `Proxy.observe` gave.
    """

    arch: str
    seed: int
    cost: Cost
    batch: MiniBatch
    network: nn.Module = None  # type: ignore[assignment]
    outputs: NetworkOutputs = None  # type: ignore[assignment]
    layers: Sequence[Layer] = ()
    gradients: Gradients = None  # type: ignore[assignment]
    observed: Any = None
    teacher: Summary = field(default_factory=dict)
    shared: Shared = field(default_factory=Shared)
    recorded_pass: Callable[[nn.Module, Tensor, str], Sequence[Layer]] = recorded_pass

    def noise(self, *key: object, images: int | None = None) -> Tensor:
        """As many images as in the mini-batch, or ``images``, of N(0, 1), drawn by ``key``."""
        like = self.batch.images
        drawn = torch.randn(images or len(like), *like.shape[1:], generator=generator(*key))
        return drawn.to(like).contiguous(memory_format=torch.channels_last)

    def copy(self) -> nn.Module:
        """A copy of the network for further passes: same parameters, fresh running statistics."""
        copied = deepcopy(self.network)
        for module in copied.modules():
            if isinstance(module, nn.modules.batchnorm._NormBase):
                module.reset_running_stats()
        return copied


class Proxy(ABC):
    """Scores an untrained network; pure, and higher is better.

    ``name`` is the key of the config. Attributes declare what a proxy needs, so that what nobody
    needs is not computed; `bind` may change them. A setting that is not allowed raises `UserError`.

    Attributes:
        needs_teacher: Compares with a teacher; then it defines `summarize`.
        needs_labels: Reads the mini-batch's labels.
        needs_network: Reads the network, or runs a copy of it.
        needs_forward: Reads what the shared forward pass gives.
        needs_layers: Reads `ProxyInput.layers`.
        layer_values: By the name of a pass, what it reads by `Layer.value`; then it reads no
            layer's tensors in that pass, and where nobody does they are not kept.
        needs_gradients: Runs a backward pass; with `needs_forward`, through the shared pass.
        outputs_only: Reads outputs, parameters and `Layer.value`, but neither watches modules nor
            reads running statistics or a layer's tensors: first blocks that candidates have in
            common need not run again.
        baseline: Looks at size alone, or at next to nothing: what every claim must beat.
        relative: A candidate's score depends on the other candidates, see `fitness`.
        reported: Names of the attributes that `settings` gives.
    """

    needs_teacher: bool = False
    needs_labels: bool = False
    needs_network: bool = True
    needs_forward: bool = True
    needs_layers: bool = False
    layer_values: Mapping[str, LayerValues] = {}
    needs_gradients: bool = False
    outputs_only: bool = False
    baseline: bool = False
    relative: bool = False
    reported: tuple[str, ...] = ()

    def __init__(self, *, name: str) -> None:
        self.name = name

    def bind(self, context: ProxyContext) -> Proxy:
        """The proxy with every choice that depends on the run made.

        Raises:
            UserError: The settings cannot work in this run.
        """
        return self

    def observe(self, network: nn.Module) -> AbstractContextManager[Any]:
        """Watch ``network`` during its forward pass; what is entered goes to `measure`."""
        return nullcontext()

    def summarize(self, outputs: NetworkOutputs, batch: MiniBatch, network: nn.Module) -> Summary:
        """The tensors a comparison needs of the teacher; computed once a run."""
        return {}

    @abstractmethod
    def measure(self, inputs: ProxyInput) -> Components:
        """Components of the score, by name; each a pure function of the candidate.

        Raises:
            ValueError: The candidate has no score; it is recorded as failed with this reason.
        """

    def fitness(self, components: Sequence[Components]) -> list[float]:
        """Scores from the components of all candidates seen so far, in ask order: their sums.

        A proxy whose scores are relative to other candidates overrides this and `relative`.
        """
        return combine(components, "sum")

    def settings(self) -> dict[str, Any]:
        """Settings as used, for reports."""
        return {name: getattr(self, name) for name in self.reported}


def layer_values(proxies: Collection[Proxy], name: str) -> LayerValues | None:
    """What these proxies read of the layers of a pass by `Layer.value`; None if that is nothing.

    None too where one reads tensors of the pass on the mini-batch.
    """
    if name == MINI_BATCH and any(
        proxy.needs_layers and name not in proxy.layer_values for proxy in proxies
    ):
        return None
    values = (proxy.layer_values.get(name, {}) for proxy in proxies)
    return dict(item for each in values for item in each.items()) or None


def combine(components: Sequence[Components], how: str) -> list[float]:
    """Score of each candidate, higher is better, from the components of all, alike in their names.

    ``sum`` adds the components as they are; ``zscore`` adds (component − mean) / standard
    deviation, 0 for a component that is the same for all; ``rank`` adds ranks from 1 up, ties
    sharing the mean of theirs; ``log_rank`` adds ``ln(rank / m)`` among m candidates.

        >>> components = [{"a": 1.0, "b": 9.0}, {"a": 3.0, "b": 7.0}, {"a": 2.0, "b": 7.0}]
        >>> combine(components, "sum"), combine(components, "rank")
        ([10.0, 10.0, 9.0], [4.0, 4.5, 3.5])
    """
    if how == "sum":
        return [sum(each.values()) for each in components]
    if not components:
        return []
    names = list(components[0])
    values = np.array([[each[name] for name in names] for each in components], dtype=np.float64)
    if how in ("rank", "log_rank"):
        from scipy.stats import rankdata

        ranks = rankdata(values, axis=0)
        terms = ranks if how == "rank" else np.log(ranks / len(ranks))
        return list(map(float, terms.sum(axis=1)))
    spread = values.std(axis=0)
    centred = values - values.mean(axis=0)
    scaled = np.divide(centred, spread, out=np.zeros_like(centred), where=np.ptp(values, 0) > 0)
    return [float(total) for total in scaled.sum(axis=1)]
