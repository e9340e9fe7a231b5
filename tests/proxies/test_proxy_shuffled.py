"""The control that shows a proxy the teacher's outputs for other samples."""

from __future__ import annotations

import pickle

import pytest
import torch
from torch import nn

from diswot.data import MiniBatch
from diswot.errors import UserError
from diswot.models.outputs import NetworkOutputs
from diswot.proxies import Proxy
from diswot.proxies.base import Components, ProxyContext, ProxyInput, Summary
from diswot.proxies.diswot import DisWOT, Semantic
from diswot.proxies.shuffled import Shuffled

SIZE = 7


class Numbers(Proxy):
    """Keeps everything the teacher gave."""

    needs_teacher = True
    needs_layers = True
    reported = ("name",)

    def summarize(self, outputs: NetworkOutputs, batch: MiniBatch, network: nn.Module) -> Summary:
        maps = {f"stage {i}": map for i, map in enumerate(outputs.stages)}
        before = {f"before {i}": map for i, map in enumerate(outputs.preactivations)}
        ends = {"embedding": outputs.embedding, "logits": outputs.logits}
        return {**maps, **before, **ends, "labels": batch.labels}

    def measure(self, inputs: ProxyInput) -> Components:
        return {"seed": float(inputs.seed)}


def summary(seed: int = 0, size: int = SIZE) -> dict[str, list[float]]:
    """Which sample stands where, in everything that is kept."""
    count = torch.arange(size)
    maps = tuple(count.view(-1, 1, 1, 1).expand(-1, 2, side, side) for side in (4, 2))
    outputs = NetworkOutputs(maps, maps, count[:, None], count[:, None])
    batch = MiniBatch(torch.zeros(size, 1, 4, 4), count)
    made = Shuffled(Numbers(name="numbers"), seed).summarize(outputs, batch, nn.Identity())
    return {name: tensor.reshape(size, -1)[:, 0].tolist() for name, tensor in made.items()}


@pytest.mark.parametrize("size", [2, 3, SIZE, 64])
def test_no_sample_keeps_its_place_and_all_are_one_cycle(size: int) -> None:
    order = [int(place) for place in summary(size=size)["logits"]]
    assert sorted(order) == list(range(size))
    place, steps = order[0], 1
    while place:
        place, steps = order[place], steps + 1
    assert steps == size


def test_everything_the_teacher_gave_moves_alike_and_labels_stay() -> None:
    orders = summary()
    assert orders.pop("labels") == list(range(SIZE))
    assert len(orders) == 6
    assert len({tuple(order) for order in orders.values()}) == 1


def test_the_order_is_keyed_by_the_seed_alone() -> None:
    state = torch.get_rng_state()
    first = summary(seed=3)
    torch.rand(1)
    assert summary(seed=3) == first
    torch.set_rng_state(state)
    assert any(summary(seed=seed) != first for seed in (4, 5))
    assert torch.equal(torch.get_rng_state(), state)


def test_it_is_the_proxy_in_all_else() -> None:
    proxy = Numbers(name="numbers")
    proxy.baseline = True
    control = pickle.loads(pickle.dumps(Shuffled(proxy, 0)))
    assert control.name == "numbers@shuffled"
    flags = {flag: getattr(proxy, flag) for flag in Proxy.__annotations__}
    assert {flag: getattr(control, flag) for flag in flags} == flags
    assert control.settings() == {"name": "numbers"}
    assert control.fitness([{"a": 1.0, "b": 2.0}]) == [3.0]
    assert not control.relative
    ranked = Shuffled(DisWOT(name="diswot", combine="rank"), 0)
    assert ranked.relative
    assert ranked.fitness([{"a": 1.0}, {"a": 5.0}]) == [1.0, 2.0]


def test_it_binds_as_the_proxy_does() -> None:
    wide, narrow = (ProxyContext("s", width, "t", 64, 10) for width in (64, 32))
    control = Shuffled(Semantic(name="semantic"), 0)
    assert control.needs_labels
    assert control.bind(wide).settings()["form"] == "channel"
    bound = control.bind(narrow)
    assert bound.settings()["form"] == "cam"
    assert bound.name == "semantic@shuffled"
    assert not bound.needs_labels
    with pytest.raises(UserError, match="form=channel needs students as wide"):
        Shuffled(Semantic(name="semantic", form="channel"), 0).bind(narrow)
