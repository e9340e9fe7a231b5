"""All proxies of one run together, each watched while it measures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from diswot.data import MiniBatch
from diswot.models.outputs import NetworkOutputs
from diswot.proxies import Proxy
from diswot.proxies.base import Components, ProxyInput, Summary
from diswot.scoring.scorer import Measurement, Scorer
from diswot.scoring.setup import Setup
from diswot.spaces import Arch

__all__ = ["Company", "Watched", "hexed", "meet"]


def hexed(found: Measurement, names: Sequence[str] | None = None) -> dict[str, Any]:
    """The bits of each proxy's parts, or why it has none."""
    return {
        name: {part: value.hex() for part, value in found.parts[name].items()}
        if name in found.parts
        else found.failures[name]
        for name in names or [*found.parts, *found.failures]
    }


class Watched(Proxy):
    """A proxy, and notes on what it is shown and what it changes while it measures."""

    def __init__(self, proxy: Proxy) -> None:
        super().__init__(name=proxy.name)
        self.proxy = proxy
        self.notes: list[str] = []
        self.calls = 0
        for flag in Proxy.__annotations__:
            setattr(self, flag, getattr(proxy, flag))

    def observe(self, network: nn.Module) -> AbstractContextManager[Any]:
        return self.proxy.observe(network)

    def measure(self, inputs: ProxyInput) -> Components:
        self.calls += 1
        self.notes += _shown_wrongly(self.proxy, inputs)
        before = _state(inputs)
        try:
            with _no_backward(self.proxy):
                return self.proxy.measure(inputs)
        finally:
            after = _state(inputs)
            self.notes += [f"{key} changed" for key in before if not _equal(before, after, key)]
            self.notes += [f"{key} is new" for key in after if key not in before]


def _shown_wrongly(proxy: Proxy, inputs: ProxyInput) -> list[str]:
    """What is there though not asked for, or not there though asked for."""
    through = proxy.needs_forward and proxy.needs_network
    expected = {
        "network": proxy.needs_network,
        "outputs": through,
        "layers": through and proxy.needs_layers,
        "gradients": through and proxy.needs_gradients,
        "teacher": proxy.needs_teacher,
    }
    there = {
        name: value is not None and (not hasattr(value, "__len__") or len(value) > 0)
        for name in expected
        for value in [getattr(inputs, name)]
    }
    wrong = [
        f"{name} is there: {there[name]}" for name in expected if there[name] != expected[name]
    ]
    if torch.is_grad_enabled() != proxy.needs_gradients:
        wrong.append(f"gradients are recorded: {torch.is_grad_enabled()}")
    if not proxy.needs_gradients:
        graphs = [name for name, t in _tensors(inputs).items() if t.grad_fn is not None]
        wrong += [f"{name} has a graph" for name in graphs]
    return wrong


def _tensors(inputs: ProxyInput) -> dict[str, Tensor]:
    found = {"images": inputs.batch.images, "labels": inputs.batch.labels}
    found |= {f"teacher {name}": tensor for name, tensor in inputs.teacher.items()}
    found |= {f"output {i} {call.name}": call.output for i, call in enumerate(inputs.layers)}
    if isinstance(inputs.outputs, NetworkOutputs):
        for field in fields(inputs.outputs):
            value = getattr(inputs.outputs, field.name)
            values = value if isinstance(value, tuple) else (value,)
            found |= {f"{field.name} {i}": tensor for i, tensor in enumerate(values)}
    return found


def _state(inputs: ProxyInput) -> dict[str, Any]:
    """Everything a proxy must leave as it is."""
    state: dict[str, Any] = {k: t.detach().clone() for k, t in _tensors(inputs).items()}
    state["global random state"] = torch.get_rng_state()
    state["threads"] = torch.get_num_threads()
    state["recording"] = torch.is_grad_enabled()
    if inputs.network is None:
        return state
    for name, tensor in inputs.network.state_dict().items():
        state[f"state {name}"] = tensor.clone()
    for name, parameter in inputs.network.named_parameters():
        state[f"gradient {name}"] = (parameter.grad is None, parameter.requires_grad)
    for name, module in inputs.network.named_modules():
        hooks = len(module._forward_hooks) + len(module._forward_pre_hooks)
        state[f"module {name}"] = module.training, hooks, type(module), module.forward
    return state


def _equal(before: dict[str, Any], after: dict[str, Any], key: str) -> bool:
    one, other = before[key], after.get(key)
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and torch.equal(one, other)
    return bool(one == other)


@contextmanager
def _no_backward(proxy: Proxy) -> Iterator[None]:
    """Refuse backward passes where the proxy says that it runs none."""

    def refuse(*args: object, **settings: object) -> None:
        raise AssertionError(f"{proxy.name} runs a backward pass")

    if proxy.needs_gradients:
        yield
        return
    with patch("torch.autograd.backward", refuse), patch("torch.autograd.grad", refuse):
        yield


@dataclass(frozen=True)
class Company:
    """All proxies on some architectures of a space.

    Attributes:
        config: Of all proxies, each with its shuffled control where it has one.
        setup: From this config.
        archs: The smallest two, and further ones.
        watched: The proxies, by name.
        found: What they gave for each of `archs`.
    """

    config: Mapping[str, Any]
    setup: Setup
    archs: Sequence[Arch]
    watched: Mapping[str, Watched]
    found: Sequence[Measurement]

    @property
    def scorer(self) -> Scorer:
        """Of all proxies, unwatched."""
        return self.setup.scorer

    def bits(self, *names: str) -> list[dict[str, Any]]:
        """Those of the proxies called ``names``, for each of `archs`."""
        return [hexed(found, names) for found in self.found]

    def parts(self, name: str) -> list[Components]:
        """Of one proxy, for each of `archs` that it can measure."""
        return [found.parts[name] for found in self.found if name in found.parts]

    def alone(self, name: str, **changes: Any) -> Setup:
        """A run with one proxy, and its control where it has one."""
        proxies = {name: self.config["proxy"][name]}
        return Setup.from_config({**self.config, **changes, "proxy": proxies})

    def some(
        self, names: Sequence[str], *, batch: MiniBatch, teacher: Mapping[str, Summary]
    ) -> Scorer:
        """The scorer of the proxies called ``names``, with another mini-batch and teacher."""
        proxies = {name: self.setup.proxies[name] for name in names}
        return replace(self.scorer, proxies=proxies, batch=batch, teacher=teacher)


def meet(config: Mapping[str, Any], choose: Any) -> Company:
    """Measure.

    Args:
        config: Resolved.
        choose: Takes the space and gives architectures.
    """
    setup = Setup.from_config(config)
    watched = {name: Watched(proxy) for name, proxy in setup.proxies.items()}
    archs = choose(setup.space)
    scorer = replace(setup.scorer, proxies=watched)
    return Company(config, setup, archs, watched, [scorer.measure(arch) for arch in archs])
