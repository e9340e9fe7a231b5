"""The score of one architecture, as a pure function."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from diswot.errors import UserError
from diswot.models.cost import Cost
from diswot.models.init import Initializer, materialize
from diswot.scoring.budget import CostModel
from diswot.scoring.candidate import Candidate, Forward, forward
from diswot.scoring.prefixes import PrefixCache
from diswot.scoring.runtime import Runtime

if TYPE_CHECKING:
    from diswot.data import MiniBatch
    from diswot.proxies.base import Components, Proxy, Summary
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
        seconds_each: What each proxy took: its own work and the passes it shares with others.
    """

    arch: str
    parts: dict[str, Components]
    failures: dict[str, str]
    cost: Cost | None
    seconds: float
    seconds_each: dict[str, float] = field(default_factory=dict)


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
        cost: Cost | None = None
        found = Measurement(str(arch), {}, {}, None, 0.0)
        try:
            cost = memory.costs.cost(arch)
            with self.runtime.reproducible():
                self._measure_into(found, self._candidate(arch, cost, memory.prefixes))
        except UserError:
            raise
        except Exception as error:  # a candidate may fail in any way: that is its record
            if self.debug:
                raise
            missing = [name for name in self.proxies if name not in found.parts]
            found.failures.update(dict.fromkeys(missing, _reason(error)))
        return replace(found, cost=cost, seconds=time.perf_counter() - started)

    def _measure_into(self, found: Measurement, candidate: Candidate) -> None:
        for name, proxy in self.proxies.items():
            try:
                parts, found.seconds_each[name] = candidate.measure(name, proxy)
                found.parts[name] = _finite(parts)
            except UserError:
                raise
            except Exception as error:
                if self.debug:
                    raise
                found.failures[name] = _reason(error)

    def _candidate(self, arch: Arch, cost: Cost, prefixes: PrefixCache) -> Candidate:
        started = time.perf_counter()
        batch = self.runtime.place_batch(self.batch)
        network: nn.Module | None = None
        run: Forward | None = None
        if any(proxy.needs_network for proxy in self.proxies.values()):
            network = self.network(arch)
        built = time.perf_counter()
        watching = {name: proxy for name, proxy in self.proxies.items() if proxy.needs_forward}
        if network is not None and watching:
            keys = self._shared(arch)
            run = forward(network, watching, batch, self.runtime, prefixes.longest(keys))
            prefixes.store(keys, run.outputs.preactivations)
        return Candidate(
            str(arch),
            cost,
            seed=self.seed,
            batch=batch,
            teacher={
                name: _moved(told, self.runtime.device) for name, told in self.teacher.items()
            },
            network=network,
            run=run,
            seconds=(built - started, time.perf_counter() - built),
        )

    def _shared(self, arch: Arch) -> Sequence[Hashable]:
        """Keys of the first stages' maps, none where a proxy needs every module to run."""
        forward = [proxy for proxy in self.proxies.values() if proxy.needs_forward]
        return self.space.prefixes(arch) if all(p.outputs_only for p in forward) else ()

    def network(self, arch: Arch) -> nn.Module:
        """A student with the weights it is scored with."""
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
        network, batch = runtime.place(network), runtime.place_batch(batch)
        outputs = forward(network, {}, batch, runtime).outputs
        return {
            name: _moved(proxy.summarize(outputs, batch, network), "cpu")
            for name, proxy in aware.items()
        }


def _moved(summary: Summary, device: str) -> Summary:
    return {key: tensor.to(device) for key, tensor in summary.items()}


class _NotFiniteError(ValueError):
    """Says which part of a score is infinite or no number."""


def _finite(parts: Components) -> Components:
    parts = {name: float(value) for name, value in parts.items()}  # of a tensor, its number
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
