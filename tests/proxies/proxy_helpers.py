"""Golden networks, proxies as their YAML makes them, and runs whose proxies are watched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from copy import deepcopy
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from diswot.commands import compose
from diswot.config import conf_dir, make
from diswot.data import MiniBatch
from diswot.models.outputs import NetworkOutputs
from diswot.proxies import Proxy
from diswot.proxies.base import Components, ProxyInput, Summary
from diswot.scoring.scorer import Measurement, Scorer, summarize_teacher
from diswot.scoring.setup import Setup
from diswot.spaces import Arch

_NO_NETWORK = nn.Module()
TRANSFORMERS = ("autoformer", "pit")
TINY = ["data=gaussian", "data.batch_size=6", "data.image_size=16", "teacher=resnet8"]


def members(group: str) -> list[str]:
    """Names of the YAML files of a config group."""
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


def node_of(name: str, *overrides: str) -> dict[str, Any]:
    """The settings of a proxy as a run resolves them; overrides are below ``proxy.NAME``."""
    return deepcopy(_composed(f"proxy={name}", *(f"proxy.{name}.{o}" for o in overrides))[name])


@cache
def _composed(*overrides: str) -> dict[str, Any]:
    return compose("search", overrides, None)["proxy"]


def setup_of(*overrides: str) -> Setup:
    """Everything a run scores with, on noise of 16 × 16 pixels."""
    return Setup.from_config({**compose("search", [*TINY, *overrides], None), "device": "cpu"})


def made(name: str, *overrides: str) -> Proxy:
    """A proxy as its YAML describes it, but for some settings."""
    return make(node_of(name, *overrides), f"proxy.{name}", Proxy)


# ---- networks whose scores other people's code has computed


class GoldenNetwork(nn.Module):
    """Runs a stored list of operations; keeps `diswot.models.Network`.

    Modules have the stored names, ``.`` replaced by ``/``, and are looked up at every call, so that
    they can be replaced.
    """

    def __init__(self, steps: Sequence[dict[str, Any]], state: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.steps: list[tuple[str, list[str], str, str]] = []
        for number, step in enumerate(steps):
            inputs = step["inp"] if isinstance(step["inp"], list) else [step["inp"]]
            named = step.get("prefix") or step.get("weight") or f"{step['op']} {number}"
            name = str(named).removesuffix(".weight").replace(".", "/")
            if module := _module(step, state):
                self.add_module(name, module)
            self.steps.append((step["op"], inputs, step.get("out") or step["name"], name))
        self.load_state_dict({k.replace(".", "/", k.count(".") - 1): t for k, t in state.items()})
        self.double()

    @property
    def classifier(self) -> nn.Module:
        return self.get_submodule("fc")

    def outputs(self, images: Tensor) -> NetworkOutputs:
        registers, stages = {"x": images}, []
        for op, inputs, out, name in self.steps:
            x = registers[inputs[0]]
            match op:
                case "feature":
                    stages += [x] if out.startswith(("stage", "unit")) else []
                case "add":
                    registers[out] = x + registers[inputs[1]]
                case "copy":
                    registers[out] = x
                case "global_avg_pool_flatten":
                    registers[out] = x.mean((2, 3))
                case _:
                    registers[out] = self.get_submodule(name)(x)
        return NetworkOutputs(tuple(stages), tuple(stages), registers["p"], registers["logits"])

    def forward(self, images: Tensor) -> Tensor:
        return self.outputs(images).logits


def _module(step: dict[str, Any], state: Mapping[str, Tensor]) -> nn.Module | None:
    match step["op"]:
        case "conv2d":
            width, depth, *kernel = state[step["weight"]].shape
            sizes = kernel, step["stride"], step["padding"], 1, step["groups"]
            return nn.Conv2d(depth * step["groups"], width, *sizes, step["bias"] is not None)
        case "batchnorm2d":
            width = len(state[f"{step['prefix']}.weight"])
            return nn.BatchNorm2d(width, step["eps"], step["momentum"])
        case "linear":
            classes, width = state[step["weight"]].shape
            return nn.Linear(width, classes, step["bias"] is not None)
        case "maxpool2d":
            return nn.MaxPool2d(step["kernel"], step["stride"])
        case "relu":
            return nn.ReLU()
    return None


# ---- all proxies of one run together, each watched while it measures


def hexed(measured: Measurement, names: Sequence[str] | None = None) -> dict[str, Any]:
    """The bits of each proxy's components, or why it has none."""
    return {
        name: {part: value.hex() for part, value in measured.parts[name].items()}
        if name in measured.parts
        else measured.failures[name]
        for name in names or [*measured.parts, *measured.failures]
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
            changed = {key for key, _ in before.items() ^ _state(inputs).items()}
            self.notes += [f"{key} changed" for key in changed]


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
    there = {name: getattr(inputs, name) not in (None, (), [], {}) for name in expected}
    wrong = [f"{name}: {there[name]}" for name in expected if there[name] != expected[name]]
    if torch.is_grad_enabled() != proxy.needs_gradients:
        wrong.append(f"gradients are recorded: {torch.is_grad_enabled()}")
    if not proxy.needs_gradients:
        graphs = [name for name, t in _tensors(inputs).items() if t.grad_fn is not None]
        wrong += [f"{name} has a graph" for name in graphs]
    return wrong


def _tensors(inputs: ProxyInput) -> dict[str, Tensor]:
    tensors = {"images": inputs.batch.images, "labels": inputs.batch.labels}
    tensors |= {f"teacher {name}": tensor for name, tensor in inputs.teacher.items()}
    tensors |= {f"output {i} {call.name}": call.output for i, call in enumerate(inputs.layers)}
    for each in fields(NetworkOutputs) if inputs.outputs else ():
        value = getattr(inputs.outputs, each.name)
        values = value if isinstance(value, tuple) else (value,)
        tensors |= {f"{each.name} {i}": tensor for i, tensor in enumerate(values)}
    return tensors


def _state(inputs: ProxyInput) -> dict[str, Any]:
    """Everything a proxy must leave as it is."""
    tensors = {**_tensors(inputs), "global random state": torch.get_rng_state()}
    state: dict[str, Any] = {"threads": torch.get_num_threads()}
    state["recording"] = torch.is_grad_enabled()
    network = inputs.network or _NO_NETWORK
    tensors |= {f"state {name}": tensor for name, tensor in network.state_dict().items()}
    state |= {name: tensor.detach().numpy().tobytes() for name, tensor in tensors.items()}
    for name, parameter in network.named_parameters():
        state[f"gradient {name}"] = (parameter.grad is None, parameter.requires_grad)
    for name, module in network.named_modules():
        hooks = len(module._forward_hooks) + len(module._forward_pre_hooks)
        state[f"module {name}"] = module.training, hooks, type(module), module.forward
    return state


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
    """All proxies, each with its shuffled control, on some architectures of a space."""

    config: Mapping[str, Any]
    setup: Setup
    archs: Sequence[Arch]
    watched: Mapping[str, Watched]
    measured: Sequence[Measurement]

    @classmethod
    def meet(cls, config: Mapping[str, Any], choose: Any) -> Company:
        """Measure the architectures that ``choose`` gives of the config's space."""
        setup = Setup.from_config(config)
        watched = {name: Watched(proxy) for name, proxy in setup.proxies.items()}
        archs, scorer = choose(setup.space), replace(setup.scorer, proxies=watched)
        memory = scorer.memory()  # later ones are put together of parts of the first
        measured = [scorer.measure(arch, memory) for arch in archs]
        return cls(config, setup, archs, watched, measured)

    @property
    def scorer(self) -> Scorer:
        """Of all proxies, unwatched."""
        return self.setup.scorer

    def bits(self, *names: str) -> list[dict[str, Any]]:
        """Those of the proxies called ``names``, for each of `archs`."""
        return [hexed(each, names) for each in self.measured]

    def components(self, name: str) -> list[Components]:
        """Of one proxy, for each of `archs` that it can measure."""
        return [each.parts[name] for each in self.measured if name in each.parts]

    def untaught(self, *names: str) -> Setup:
        """A run without a teacher of the proxies called ``names``."""
        none = compose("search", ["teacher=none"], None)["teacher"]
        proxies = {name: self.config["proxy"][name] for name in names}
        return Setup.from_config({**self.config, "teacher": none, "proxy": proxies})

    def some(self, names: Sequence[str], **changes: Any) -> Scorer:
        """The scorer of the proxies called ``names``, with another mini-batch or teacher."""
        proxies = {name: self.setup.proxies[name] for name in names}
        return replace(self.scorer, proxies=proxies, **changes)

    def summaries(self, names: Sequence[str], batch: MiniBatch | None = None) -> dict[str, Summary]:
        """What the proxies called ``names`` keep of the run's teacher, which runs for them."""
        network, scorer = self.setup.teacher_network, self.scorer
        assert network is not None
        proxies = {name: self.setup.proxies[name] for name in names}
        return summarize_teacher(network, proxies, batch or scorer.batch, scorer.runtime)
