"""Scores of stored networks against those of other people's code, in float64."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
import torch

from diswot.data import MiniBatch
from diswot.models.cost import Cost
from diswot.models.resnet import CifarResNet
from diswot.proxies import Proxy
from diswot.proxies.base import ProxyContext, ProxyInput
from diswot.proxies.functional import (
    activation_agreement,
    channel_similarity,
    classifier_gradient,
    log_determinant,
    relation_matrix,
    relation_similarity,
)
from diswot.proxies.nwot import NWOT
from diswot.proxies.relation import Relation
from diswot.proxies.semantic import Semantic

NETS = ("res_111", "res_333", "plain_a", "plain_c")
RESNETS = ("res_111", "res_333")
PAIRS = list(permutations(NETS, 2))
MODES = ("train", "eval")
CLOSE = 1e-6


def resnet(golden: Any, net: str, mode: str) -> CifarResNet:
    network = CifarResNet([int(d) for d in net.removeprefix("res_")], [16, 16, 32, 64])
    network.load_state_dict(golden.state(net))
    return network.double().train(mode == "train")


def test_every_pair_is_compared(golden: Any) -> None:
    assert set(golden.told["diswot_pairs"]) == {f"{a}->{b}" for a, b in PAIRS}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("net", RESNETS)
def test_the_stored_resnets_are_ours(golden: Any, net: str, mode: str) -> None:
    run = golden.run(net, mode == "train")
    with torch.no_grad():
        outputs = resnet(golden, net, mode).outputs(golden.images)
    torch.testing.assert_close(outputs.stages[-1], run.features, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(outputs.logits, run.logits, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("net", NETS)
def test_nwot(golden: Any, net: str, mode: str) -> None:
    run = golden.run(net, mode == "train")
    kernel = torch.stack([activation_agreement(x) for x in run.relu_inputs]).sum(0)
    told = golden.told["scores"][net][mode]["naslib.nwot"]["f64"]
    assert log_determinant(kernel).item() == pytest.approx(told, rel=CLOSE)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("teacher", "student"), PAIRS)
def test_relation(golden: Any, teacher: str, student: str, mode: str) -> None:
    matrices = [
        relation_matrix(golden.run(net, mode == "train").features) for net in (teacher, student)
    ]
    told = golden.told["diswot_pairs"][f"{teacher}->{student}"][mode]["relation"]["f64"]
    assert relation_similarity(*matrices).item() == pytest.approx(told, rel=CLOSE)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("teacher", "student"), PAIRS)
def test_semantic(golden: Any, teacher: str, student: str, mode: str) -> None:
    runs = [golden.run(net, mode == "train") for net in (teacher, student)]
    gradients = [classifier_gradient(run.logits, run.embedding, golden.labels) for run in runs]
    if runs[0].embedding.shape != runs[1].embedding.shape:
        with pytest.raises(ValueError, match="K and C"):
            channel_similarity(*gradients)
        return
    told = golden.told["diswot_pairs"][f"{teacher}->{student}"][mode]["semantic"]["f64"]
    assert channel_similarity(*gradients).item() == pytest.approx(told, rel=CLOSE)


def inputs(golden: Any, net: str, mode: str, proxy: Proxy, teacher: Any = None) -> ProxyInput:
    network = resnet(golden, net, mode)
    with torch.no_grad(), proxy.observe(network) as observed:
        outputs = network.outputs(golden.images)
    batch = MiniBatch(golden.images, golden.labels)
    return ProxyInput(
        arch=net,
        seed=0,
        cost=Cost(1, 1, 1),
        batch=batch,
        network=network,
        outputs=outputs,
        observed=observed,
        teacher=teacher or {},
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("net", RESNETS)
def test_the_nwot_proxy(golden: Any, net: str, mode: str) -> None:
    proxy = NWOT(name="nwot")
    told = golden.told["scores"][net][mode]["naslib.nwot"]["f64"]
    found = proxy.measure(inputs(golden, net, mode, proxy))
    assert found == {"nwot": pytest.approx(told, rel=CLOSE)}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("part", ["relation", "semantic"])
@pytest.mark.parametrize(("teacher", "student"), list(permutations(RESNETS)))
def test_the_teacher_aware_proxies(
    golden: Any, teacher: str, student: str, part: str, mode: str
) -> None:
    context = ProxyContext("s0", 64, teacher, 64, 10)
    made = {"relation": Relation(name="p"), "semantic": Semantic(name="p")}[part].bind(context)
    seen = inputs(golden, teacher, mode, made)
    with torch.no_grad():
        summary = made.summarize(seen.outputs, seen.batch, seen.network)
        found = made.measure(inputs(golden, student, mode, made, summary))
    told = golden.told["diswot_pairs"][f"{teacher}->{student}"][mode][part]["f64"]
    assert found == {part: pytest.approx(told, rel=CLOSE)}
