"""A candidate shows each proxy what it asks for, and counts the seconds it asks for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from diswot.data import MiniBatch
from diswot.models.cost import Cost
from diswot.models.init import Kaiming
from diswot.models.resnet import CifarResNet
from diswot.proxies import Proxy
from diswot.proxies.base import Components, ProxyInput
from diswot.scoring.candidate import Candidate, Forward, forward
from diswot.scoring.runtime import Runtime
from diswot.scoring.scorer import Scorer, _finite
from diswot.scoring.setup import Setup

COST = Cost(1, 2, 3)
FIELDS = ("network", "outputs", "layers", "gradients", "observed", "teacher")


class Asking(Proxy):
    """Needs what it is told to need; works for a while."""

    def __init__(self, name: str = "asking", seconds: float = 0, **needs: bool) -> None:
        super().__init__(name=name)
        self.seconds = seconds
        self.subjects: list[ProxyInput] = []
        for need, value in needs.items():
            setattr(self, need, value)

    @contextmanager
    def observe(self, network: nn.Module) -> Iterator[str]:
        yield f"seen by {self.name}"

    def measure(self, inputs: ProxyInput) -> Components:
        self.subjects.append(inputs)
        inputs.shared.get("shared work", lambda: time.sleep(0.05))
        time.sleep(self.seconds)
        return {"grad": float(torch.is_grad_enabled())}


def batch() -> MiniBatch:
    images = torch.randn((4, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    return MiniBatch(images, torch.arange(4))


def candidate(*proxies: Proxy, seconds: tuple[float, float] = (0.0, 0.0)) -> Candidate:
    network = CifarResNet([1, 1, 1], [4, 4, 8, 16])
    Kaiming()(network, seed=0, role="student")
    told = {proxy.name: {proxy.name: torch.ones(1)} for proxy in proxies}
    run: Forward | None = None
    if watching := {proxy.name: proxy for proxy in proxies if proxy.needs_forward}:
        run = forward(network, watching, batch(), Runtime())
    return Candidate(
        "a", COST, seed=5, batch=batch(), teacher=told, network=network, run=run, seconds=seconds
    )


def shown(proxy: Asking, *others: Proxy) -> tuple[ProxyInput, set[str]]:
    """What the proxy sees beside the others, and the names of what is there."""
    parts, _ = candidate(proxy, *others).measure(proxy.name, proxy)
    assert parts == {"grad": float(proxy.needs_gradients)}
    [inputs] = proxy.subjects
    assert (inputs.arch, inputs.seed, inputs.cost) == ("a", 5, COST)
    assert inputs.teacher == {proxy.name: torch.ones(1)}
    values = {name: getattr(inputs, name) for name in FIELDS}
    return inputs, {name for name, value in values.items() if value is not None and value != ()}


GREEDY = {"needs_layers": True, "needs_gradients": True, "needs_labels": True}


@pytest.mark.parametrize(
    ("needs", "there"),
    [
        ({}, {"network", "outputs", "observed"}),
        ({"needs_layers": True}, {"network", "outputs", "observed", "layers"}),
        ({"needs_gradients": True}, {"network", "outputs", "observed", "gradients"}),
        (GREEDY, {*FIELDS} - {"teacher"}),
        ({"needs_network": False}, {"outputs", "observed"}),
        ({"needs_forward": False}, {"network"}),
        ({"needs_forward": False, "needs_gradients": True}, {"network"}),
        ({"needs_forward": False, "needs_network": False}, set()),
    ],
)
@pytest.mark.parametrize("company", [False, True])
def test_a_proxy_sees_what_it_asks_for_and_no_more(
    needs: dict[str, bool], there: set[str], company: bool
) -> None:
    others = [Asking("other", **GREEDY)] if company else []
    inputs, found = shown(Asking(**needs), *others)
    assert found == {*there, "teacher"}
    assert inputs.observed == ("seen by asking" if "observed" in there else None)


def test_graphs_are_shown_to_those_that_go_back_through_them() -> None:
    plain, back = Asking("plain", needs_layers=True), Asking("back", **GREEDY)
    both = candidate(plain, back)
    one, other = (both.inputs(proxy.name, proxy) for proxy in (plain, back))
    assert one.outputs is not None
    assert other.outputs is not None
    assert other.gradients is not None
    tensors = [*one.outputs.stages, one.outputs.logits, *(call.output for call in one.layers)]
    assert not any(tensor.requires_grad for tensor in tensors)
    assert all(call.output.requires_grad for call in other.layers)
    assert torch.equal(one.outputs.logits, other.outputs.logits)
    assert [call.name for call in one.layers] == [call.name for call in other.layers]
    assert all(gradient.any() for gradient in other.gradients.weights.values())
    assert not one.batch.images.requires_grad


def test_no_graph_is_recorded_where_nobody_goes_back() -> None:
    alone = Asking(needs_layers=True)
    found = forward(CifarResNet([1, 1, 1], [4, 4, 8, 16]), {"a": alone}, batch(), Runtime())
    assert found.gradients is None
    assert not found.outputs.logits.requires_grad
    assert torch.is_grad_enabled()


def test_the_image_gradients_leave_the_mini_batch_alone() -> None:
    told, back = batch(), Asking(**GREEDY)
    network = CifarResNet([1, 1, 1], [4, 4, 8, 16])
    found = forward(network, {"a": back}, told, Runtime())
    assert found.gradients is not None
    assert found.gradients.images.shape == told.images.shape
    assert not told.images.requires_grad
    assert told.images.grad is None


def test_seconds_are_those_of_a_proxy_alone() -> None:
    first, second = Asking("first"), Asking("second", seconds=0.03)
    blind = Asking("blind", needs_forward=False)
    free = Asking("free", needs_forward=False, needs_network=False)
    one = candidate(first, second, blind, free, seconds=(10.0, 200.0))
    seconds = {p.name: one.measure(p.name, p)[1] for p in (first, second, blind, free)}
    assert 210.05 <= seconds["first"] < 215
    assert 210.08 <= seconds["second"] < 215  # shared work done for another counts in full
    assert 10.05 <= seconds["blind"] < 15  # and what it does not share is its own
    assert 0.05 <= seconds["free"] < 5


def test_a_measurement_has_the_seconds_of_what_was_measured(
    setup_of: Callable[..., Setup],
) -> None:
    scorer = setup_of("space=s0", "proxy=[diswot,nwot,params,snip]").scorer
    found = scorer.measure(scorer.space.parse("s0:1-1-1"))
    assert list(found.seconds_each) == list(found.parts) == list(scorer.proxies)
    assert all(seconds >= 0 for seconds in found.seconds_each.values())
    assert found.seconds_each["params"] < found.seconds_each["nwot"]
    assert max(found.seconds_each.values()) <= found.seconds


@pytest.mark.parametrize(
    ("proxy", "kept"),
    [("diswot", True), ("[diswot,params]", True), ("[diswot,zen]", True), ("[diswot,nwot]", False)],
)
def test_first_stages_are_kept_where_nobody_watches_modules(
    setup_of: Callable[..., Setup], proxy: str, kept: bool
) -> None:
    scorer: Scorer = setup_of("space=s0", f"proxy={proxy}").scorer
    memory, arch = scorer.memory(), scorer.space.parse("s0:1-1-1")
    parts: list[Any] = [scorer.measure(arch, memory).parts for _ in range(2)]
    assert parts[0] == parts[1]
    assert bool(memory.prefixes.longest(scorer.space.prefixes(arch))) == kept


@pytest.mark.parametrize("proxy", ["snip", "effective_rank"])
def test_first_stages_run_where_their_layers_or_gradients_are_read(
    setup_of: Callable[..., Setup], proxy: str
) -> None:
    scorer = setup_of("space=s0", f"proxy=[diswot,{proxy}]").scorer
    memory, arch = scorer.memory(), scorer.space.parse("s0:1-1-1")
    scorer.measure(arch, memory)
    assert memory.prefixes.longest(scorer.space.prefixes(arch)) == []


def test_a_part_that_is_a_tensor_is_its_number() -> None:
    assert _finite({"x": torch.tensor(1.5), "y": np.float32(2)}) == {"x": 1.5, "y": 2.0}
    assert all(type(value) is float for value in _finite({"x": torch.tensor(1.5)}).values())
    with pytest.raises(ValueError, match="y is nan"):
        _finite({"x": 1.0, "y": torch.tensor(float("nan"))})
