"""The baselines, written out."""

from __future__ import annotations

from math import sqrt
from typing import Any

import pytest
import torch
from golden_network import golden_network, golden_subject
from torch import nn

from diswot.data import MiniBatch
from diswot.models.cost import Cost
from diswot.models.outputs import NetworkOutputs
from diswot.proxies import Proxy
from diswot.proxies.base import ProxyInput
from diswot.proxies.cost import Flops, Layers, Params, SqrtParams
from diswot.proxies.features import FeatureNorm, LogitSpread
from diswot.proxies.random import Random

BASELINES = (Params, Flops, Layers, SqrtParams, Random, FeatureNorm, LogitSpread)
NETS = ("res_111", "res_333", "plain_a", "plain_c")


def inputs(**parts: Any) -> ProxyInput:
    batch = MiniBatch(torch.zeros(2, 3, 4, 4), torch.zeros(2).long())
    settings = {"arch": "a", "seed": 0, "cost": Cost(7, 11, 3), "batch": batch, **parts}
    return ProxyInput(**settings)


def outputs(embedding: list[list[float]], logits: list[list[float]]) -> NetworkOutputs:
    return NetworkOutputs((), (), torch.tensor(embedding), torch.tensor(logits))


@pytest.mark.parametrize("make", BASELINES)
def test_they_say_what_they_are(make: type[Proxy]) -> None:
    assert make.baseline
    assert not make.needs_labels
    assert not make.needs_gradients
    assert not make.needs_teacher
    assert make.needs_forward == (make in (FeatureNorm, LogitSpread))
    assert make.needs_network == (make in (SqrtParams, FeatureNorm, LogitSpread))


@pytest.mark.parametrize(
    ("make", "expected"),
    [(Params, {"params": 7.0}), (Flops, {"flops": 11.0}), (Layers, {"layers": 3.0})],
)
def test_costs_need_no_network(make: type[Proxy], expected: dict[str, float]) -> None:
    assert make(name="p").measure(inputs()) == expected


def test_random_is_keyed_by_seed_and_architecture() -> None:
    shown = [inputs(), inputs(seed=1), inputs(arch="b"), inputs()]
    found = [Random(name="p").measure(one)["random"] for one in shown]
    assert found[0] == found[3]
    assert len(set(found)) == 3
    assert all(0 <= value < 1 for value in found)


def test_sqrt_params_written_out() -> None:
    network = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 5))
    found = SqrtParams(name="p").measure(inputs(network=network))
    assert found == {"sqrt_params": pytest.approx(sqrt(76) + sqrt(25), rel=1e-12)}


@pytest.mark.parametrize("net", NETS)
def test_sqrt_params_of_stored_networks(golden: Any, net: str) -> None:
    proxy, state = SqrtParams(name="p"), golden.state(net)
    layers = [name for name, t in state.items() if name.endswith("weight") and t.ndim > 1]
    sizes = [
        state[name].numel() + (len(state[name]) if name.replace("weight", "bias") in state else 0)
        for name in layers
    ]
    found = proxy.measure(golden_subject(golden, net, "train", proxy))
    assert found == {"sqrt_params": pytest.approx(sum(map(sqrt, sizes)), rel=1e-12)}


def test_feature_norm_written_out() -> None:
    shown = outputs([[3.0, 4.0], [-5.0, 12.0]], [[0.0], [0.0]])
    assert FeatureNorm(name="p").measure(inputs(outputs=shown)) == {"feature_norm": 9.0}


def test_logit_spread_written_out() -> None:
    shown = outputs([[0.0], [0.0]], [[1.0, 3.0], [5.0, -5.0]])
    assert LogitSpread(name="p").measure(inputs(outputs=shown)) == {"logit_spread": 3.0}
    one = outputs([[0.0]], [[4.0]])
    assert LogitSpread(name="p").measure(inputs(outputs=one)) == {"logit_spread": 0.0}


@pytest.mark.parametrize("net", NETS)
def test_features_of_stored_networks(golden: Any, net: str) -> None:
    run = golden.run(net, True)
    rows = [sqrt(sum(x * x for x in row)) for row in run.embedding.tolist()]
    spreads = [
        sqrt(sum((z - sum(row) / len(row)) ** 2 for z in row) / len(row))
        for row in run.logits.tolist()
    ]
    for proxy, part, values in (
        (FeatureNorm(name="p"), "feature_norm", rows),
        (LogitSpread(name="p"), "logit_spread", spreads),
    ):
        found = proxy.measure(golden_subject(golden, net, "train", proxy))
        assert found == {part: pytest.approx(sum(values) / len(values), rel=1e-9)}


def test_the_counts_are_those_of_the_stored_networks(golden: Any) -> None:
    for net in NETS:
        network = golden_network(golden, net)
        proxy = Params(name="p")
        found = proxy.measure(golden_subject(golden, net, "train", proxy))
        assert found == {"params": float(sum(p.numel() for p in network.parameters()))}
