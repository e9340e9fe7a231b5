"""The score of one architecture, as a pure function."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Hashable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from diswot.errors import UserError
from diswot.scoring.cost import Cost, CostModel
from diswot.scoring.init import Initializer, materialize
from diswot.scoring.prefixes import PrefixCache
from diswot.scoring.runtime import Runtime

if TYPE_CHECKING:
    from diswot.data.batch import MiniBatch
    from diswot.networks.outputs import Network, NetworkOutputs
    from diswot.proxies.base import Parts, Proxy, Summary
    from diswot.spaces.base import Arch, Space

__all__ = ["Measurement", "Scorer", "summarize_teacher"]


@dataclass(frozen=True)
class Measurement:
    """What scoring one architecture gave.

    Attributes:
        arch: Text form.
        parts: Each proxy's parts, by name; those that could be measured.
        failures: Why each other proxy could not.
        cost: None where the network could not be built.
        seconds: Time it took.
    """

    arch: str
    parts: dict[str, Parts]
    failures: dict[str, str]
    cost: Cost | None
    seconds: float


@dataclass(frozen=True)
class Memory:
    """What one process remembers between candidates, so as not to compute it twice.

    Attributes:
        costs: Costs by architecture.
        prefixes: Maps of first stages.
    """

    costs: CostModel
    prefixes: PrefixCache


@dataclass(frozen=True)
class Scorer:
    """Scores architectures; the same inputs give the same bits, in any process.

    Picklable, so that workers get it whole.

    Attributes:
        space: Builds the networks.
        proxies: Bound proxies by name; the first gives the fitness.
        init: Draws the parameters.
        batch: The mini-batch, on the CPU.
        num_classes: Width of the classifier.
        seed: Keys the parameters.
        runtime: Device and precision.
        teacher: Each teacher-aware proxy's summary.
        debug: Raise instead of recording a failure.
    """

    space: Space
    proxies: Mapping[str, Proxy]
    init: Initializer
    batch: MiniBatch
    num_classes: int
    seed: int
    runtime: Runtime = field(default_factory=Runtime)
    teacher: Mapping[str, Summary] = field(default_factory=dict)
    debug: bool = False

    def costs(self) -> CostModel:
        """Counts the costs of the networks this scorer builds."""
        _, channels, height, width = self.batch.images.shape
        return CostModel(self.space, num_classes=self.num_classes, image=(channels, height, width))

    def memory(self) -> Memory:
        """What may be remembered between calls of `measure` without changing a bit."""
        return Memory(self.costs(), PrefixCache())

    def measure(self, arch: Arch, memory: Memory | None = None) -> Measurement:
        """Build, initialise, run forward once, and let every proxy look.

        Args:
            arch: Of the space.
            memory: Of this scorer, in this process.

        Raises:
            UserError: The settings cannot work for any candidate.
        """
        started = time.perf_counter()
        memory = memory or self.memory()
        parts: dict[str, Parts] = {}
        failures: dict[str, str] = {}
        cost: Cost | None = None
        try:
            cost = memory.costs.cost(arch)
            self._measure_into(arch, cost, memory.prefixes, parts, failures)
        except UserError:
            raise
        except Exception as error:  # a candidate may fail in any way: that is its record
            if self.debug:
                raise
            failures |= {name: _reason(error) for name in self.proxies if name not in parts}
        return Measurement(str(arch), parts, failures, cost, time.perf_counter() - started)

    def _measure_into(
        self,
        arch: Arch,
        cost: Cost,
        prefixes: PrefixCache,
        parts: dict[str, Parts],
        failures: dict[str, str],
    ) -> None:
        from diswot.proxies.base import Subject

        network: nn.Module | None = None
        outputs: NetworkOutputs | None = None
        observed: dict[str, Any] = {}
        with self.runtime.reproducible(), torch.no_grad():
            if any(proxy.needs_forward for proxy in self.proxies.values()):
                network = self._network(arch)
                keys = self._shared(arch)
                outputs, observed = _forward(
                    network, self.proxies, self.batch, self.runtime, prefixes.longest(keys)
                )
                prefixes.store(keys, outputs.preactivations)
            subject = Subject(
                arch=str(arch),
                seed=self.seed,
                cost=cost,
                batch=self.batch,
                network=network,
                outputs=outputs,
                observed=observed,
                teacher=self.teacher,
            )
            for name, proxy in self.proxies.items():
                try:
                    parts[name] = _finite(proxy.measure(subject))
                except UserError:
                    raise
                except Exception as error:
                    if self.debug:
                        raise
                    failures[name] = _reason(error)

    def _shared(self, arch: Arch) -> Sequence[Hashable]:
        """Keys of the first stages' maps, none where a proxy needs every module to run."""
        forward = [proxy for proxy in self.proxies.values() if proxy.needs_forward]
        return self.space.prefixes(arch) if all(p.outputs_only for p in forward) else ()

    def _network(self, arch: Arch) -> nn.Module:
        network = materialize(
            lambda: self.space.build(
                arch, num_classes=self.num_classes, in_channels=self.batch.images.shape[1]
            )
        )
        self.init(network, seed=self.seed, role="student")
        return self.runtime.place(network)


def summarize_teacher(
    network: nn.Module, proxies: Mapping[str, Proxy], batch: MiniBatch, runtime: Runtime
) -> dict[str, Summary]:
    """Run the teacher once and keep what the proxies need of it.

    Args:
        network: The teacher with its weights.
        proxies: Bound proxies by name.
        batch: The mini-batch.
        runtime: Device and precision.
    """
    aware = {name: proxy for name, proxy in proxies.items() if proxy.needs_teacher}
    if not aware:
        return {}
    with runtime.reproducible(), torch.no_grad():
        network = runtime.place(network)
        outputs, _ = _forward(network, {}, batch, runtime)
        return {
            name: {key: t.cpu() for key, t in proxy.summarize(outputs, batch, network).items()}
            for name, proxy in aware.items()
        }


def _forward(
    network: nn.Module,
    proxies: Mapping[str, Proxy],
    batch: MiniBatch,
    runtime: Runtime,
    known: Sequence[Tensor] = (),
) -> tuple[NetworkOutputs, dict[str, Any]]:
    """One forward pass in train mode, watched by the proxies."""
    network.train()
    images = runtime.place_images(batch.images)
    with ExitStack() as stack:
        observed = {
            name: stack.enter_context(proxy.observe(network)) for name, proxy in proxies.items()
        }
        with runtime.autocast():
            shared = {"known": known} if known else {}
            outputs = cast("Network", network).outputs(images, **shared)
    return outputs, observed


class _NotFiniteError(ValueError):
    """Says which part of a score is infinite or no number."""


def _finite(parts: Parts) -> Parts:
    wrong = [f"{name} is {value}" for name, value in parts.items() if not math.isfinite(value)]
    if wrong:
        raise _NotFiniteError("; ".join(wrong))
    return parts


def _reason(error: Exception) -> str:
    if isinstance(error, _NotFiniteError):
        return str(error)
    where = traceback.extract_tb(error.__traceback__)[-1]
    text = str(error).strip().split("\n")[0][:300] or "no message"
    return f"{type(error).__name__}: {text} ({where.name})"
