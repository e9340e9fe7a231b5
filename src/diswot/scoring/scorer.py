"""Score of one architecture, as a pure function."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from inspect import signature
from typing import Any, NamedTuple, cast

import torch
from torch import nn

from diswot.data import MiniBatch
from diswot.errors import UnfitError, UserError
from diswot.models.init import Initializer
from diswot.models.outputs import Cost, NetworkOutputs
from diswot.models.parts import Parts
from diswot.proxies.base import Components, Proxy, ProxyInput, Summary
from diswot.proxies.passes import MINI_BATCH, Gradients
from diswot.scoring.budget import CostModel
from diswot.scoring.runtime import Forward, PrefixCache, Runtime, SharedBlocks, forward
from diswot.spaces.base import Arch, Space


@dataclass(frozen=True)
class Measurement:
    """Parts of the scores of one architecture by proxy, or why it has none, and its costs.

    Without a network ``cost`` is None. Each proxy's seconds are of its own work and of the passes
    it shares with others.
    """

    arch: str
    parts: dict[str, Components]
    failures: dict[str, str]
    cost: Cost | None
    seconds: float
    seconds_each: dict[str, float] = field(default_factory=dict)


class Memory(NamedTuple):
    """What one process keeps between candidates.

    Costs, maps of first blocks, the mini-batch on the runtime's device, and parts of networks.
    """

    costs: CostModel
    prefixes: PrefixCache
    batch: MiniBatch
    parts: Parts | None


@dataclass(frozen=True)
class Scorer:
    """Scores architectures; the same inputs give the same bits, in any process.

    Picklable, so that workers get it whole. Proxies are bound, the first gives the fitness; the
    mini-batch is on the CPU, ``teacher`` is each teacher-aware proxy's summary. With ``debug`` a
    failure is raised and not recorded. ``limit`` are the seconds that `scoring_pool` gives to a
    candidate; None: as many as it takes.
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
    limit: float | None = None

    def costs(self, **further: Any) -> CostModel:
        """Counts the costs of the networks this scorer builds; ``further`` are its arguments."""
        _, channels, height, width = self.batch.images.shape
        image = (channels, height, width)
        return CostModel(self.space, num_classes=self.num_classes, image=image, **further)

    def memory(self) -> Memory:
        """What may be remembered between calls of `measure` without changing a bit."""
        batch = self.runtime.place_batch(self.batch)
        takes_parts = "parts" in signature(self.space.build).parameters
        parts = Parts(self._prepare) if takes_parts else None
        return Memory(self.costs(), PrefixCache(), batch, parts)

    def measure(self, arch: Arch, memory: Memory | None = None) -> Measurement:
        """Build, initialise, run forward once, and let every proxy look.

        ``memory`` is of this scorer and this process.

        Raises:
            UserError: The settings cannot work for any candidate.
        """
        started = time.perf_counter()
        memory = memory or self.memory()
        cost: Cost | None = None
        result = Measurement(str(arch), {}, {}, None, 0.0)
        try:
            cost = memory.costs.cost(arch)
            with self.runtime.reproducible():
                candidate = self._candidate(arch, cost, memory)
                for name, proxy in self.proxies.items():
                    try:
                        parts, result.seconds_each[name] = candidate.measure(name, proxy)
                        result.parts[name] = _finite(parts)
                    except Exception as error:
                        result.failures[name] = self._reason(error)
                if not result.failures:
                    candidate.keep()
        except _PassError:
            result = self._apart(arch)
        except Exception as error:  # a candidate may fail in any way: that is its record
            missing = [name for name in self.proxies if name not in result.parts]
            result.failures.update(dict.fromkeys(missing, self._reason(error)))
        return replace(result, cost=cost, seconds=time.perf_counter() - started)

    def _apart(self, arch: Arch) -> Measurement:
        """As `measure`, with a network and a pass for each proxy: one must not cost the others."""
        result = Measurement(str(arch), {}, {}, None, 0.0)
        for name, proxy in self.proxies.items():
            own = replace(self, proxies={name: proxy}).measure(arch)
            result.parts.update(own.parts)
            result.failures.update(own.failures)
            result.seconds_each.update(own.seconds_each)
        return result

    def _candidate(self, arch: Arch, cost: Cost, memory: Memory) -> Candidate:
        started, passed, batch = time.perf_counter(), None, memory.batch
        needed = any(proxy.needs_network for proxy in self.proxies.values())
        network = self.network(arch, memory.parts) if needed else None
        blocks = SharedBlocks(memory.prefixes, self.prefixes(arch), [*self.proxies.values()])
        built = time.perf_counter()
        watching = {name: proxy for name, proxy in self.proxies.items() if proxy.needs_forward}
        if network is not None and watching:
            try:
                passed = forward(network, watching, batch, self.runtime, blocks.of(MINI_BATCH))
            except Exception as error:
                if len(self.proxies) == 1:
                    raise
                forward(network, {}, batch, self.runtime)  # raises where the network cannot run
                raise _PassError from error
        inputs = ProxyInput(str(arch), self.seed, cost, batch, cast(nn.Module, network))
        return Candidate(
            replace(inputs, recorded_pass=blocks.recorded_pass),
            {name: _moved(summary, batch.images.device) for name, summary in self.teacher.items()},
            passed,
            build_seconds=built - started,
            forward_seconds=time.perf_counter() - built,
            blocks=blocks,
        )

    def prefixes(self, arch: Arch) -> Sequence[Hashable]:
        """See `Space.prefixes`; none where a proxy needs every module to run, or nothing runs."""
        running = any(proxy.needs_network for proxy in self.proxies.values())
        watching = (proxy for proxy in self.proxies.values() if proxy.needs_forward)
        shareable = running and all(proxy.outputs_only for proxy in watching)
        return self.space.prefixes(arch) if shareable else ()

    def network(self, arch: Arch, parts: Parts | None = None) -> nn.Module:
        """A student with the weights it is scored with, put together of ``parts`` if given."""
        sizes = self.num_classes, self.batch.images.shape[1], self.batch.images.shape[-1]
        shared: dict[str, Any] = {} if parts is None else {"parts": parts}
        with torch.random.fork_rng(devices=[]):  # layers draw defaults that are replaced
            network = self.space.built_for(arch, *sizes, **shared)
        if parts is None:
            self._prepare("", network)
        return network

    def _prepare(self, name: str, part: nn.Module) -> None:
        self.init(part, seed=self.seed, role="student", prefix=name)
        self.runtime.place(part)

    def _reason(self, error: Exception) -> str:
        """One line for the record; the error itself where it is no matter of this candidate."""
        if self.debug or (isinstance(error, UserError) and not isinstance(error, UnfitError)):
            raise error
        if isinstance(error, _NotFiniteError | UnfitError):
            return str(error)
        where = traceback.extract_tb(error.__traceback__)[-1]
        text = str(error).strip().split("\n")[0][:300] or "no message"
        return f"{type(error).__name__}: {text} ({where.name})"


@dataclass(frozen=True)
class Candidate:
    """One network and its forward pass, of which each proxy sees what it asks for.

    ``common`` is what a proxy may see but for teacher and pass, ``teacher`` each proxy's summary on
    the network's device; seconds are what building the network and running it took.
    """

    common: ProxyInput
    teacher: Mapping[str, Summary]
    passed: Forward | None = None
    build_seconds: float = 0.0
    forward_seconds: float = 0.0
    blocks: SharedBlocks | None = None

    def inputs(self, name: str, proxy: Proxy) -> ProxyInput:
        """What the proxy called ``name`` sees."""
        inputs = replace(
            self.common,
            network=cast(nn.Module, self.common.network if proxy.needs_network else None),
            teacher=self.teacher.get(name, {}),
            shared=self.common.shared if self.passed is None else self.passed.shared,
        )
        if (passed := self.passed) is None or not proxy.needs_forward:
            return inputs
        outputs, layers = passed.outputs, passed.layers if proxy.needs_layers else ()
        if not proxy.needs_gradients:
            outputs, layers = _detached(outputs), tuple(layer.detached() for layer in layers)
        return replace(
            inputs,
            outputs=outputs,
            layers=layers,
            gradients=cast(Gradients, passed.gradients if proxy.needs_gradients else None),
            observed=passed.observed[name],
        )

    def keep(self) -> None:
        """Let later candidates have the first blocks; after every proxy has measured."""
        if self.blocks is not None:
            self.blocks.keep()

    def measure(self, name: str, proxy: Proxy) -> tuple[dict[str, float], float]:
        """A proxy's parts, and its seconds: own work and the passes it shares, each in full."""
        started = time.perf_counter()
        inputs = self.inputs(name, proxy)
        inputs.shared.restart()
        with torch.set_grad_enabled(proxy.needs_gradients):
            parts = proxy.measure(inputs)
        seconds = time.perf_counter() - started + inputs.shared.reused_seconds
        seconds += self.build_seconds * proxy.needs_network
        return parts, seconds + self.forward_seconds * proxy.needs_forward


def summarize_teacher(
    network: nn.Module, proxies: Mapping[str, Proxy], batch: MiniBatch, runtime: Runtime
) -> dict[str, Summary]:
    """Run the teacher, with its weights, once and keep what the bound proxies need of it."""
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


def _moved(summary: Summary, device: torch.device | str) -> Summary:
    return {key: tensor.to(device) for key, tensor in summary.items()}


def _detached(outputs: NetworkOutputs) -> NetworkOutputs:
    kinds = (outputs.stages, outputs.preactivations)
    stages, before = (tuple(each.detach() for each in kind) for kind in kinds)
    return NetworkOutputs(stages, before, outputs.embedding.detach(), outputs.logits.detach())


class _PassError(Exception):
    """A proxy failed in the forward pass that several share."""


class _NotFiniteError(ValueError):
    """Says which part of a score is infinite or no number."""


def _finite(parts: Components) -> Components:
    parts = {name: float(value) for name, value in parts.items()}  # of a tensor, its number
    wrong = [f"{name} is {value}" for name, value in parts.items() if not math.isfinite(value)]
    if wrong:
        raise _NotFiniteError("; ".join(wrong))
    return parts
