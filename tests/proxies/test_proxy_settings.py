"""Settings that are refused, and reasons why an architecture has no score."""

import pickle
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from proxy_helpers import TINY, Company, made
from torch import nn

from diswot.commands import compose
from diswot.data import MiniBatch
from diswot.errors import UserError
from diswot.models.outputs import Cost, NetworkOutputs
from diswot.proxies import Proxy
from diswot.proxies.base import Components, ProxyInput, Summary
from diswot.proxies.cost import Shuffled
from diswot.proxies.diswot import DisWOT
from diswot.scoring.setup import Setup

ZEROS = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
NARROW = "s1:8/b3x1-8-8/b3x1-8-8/b3x1-8-8"


@pytest.mark.parametrize(
    ("name", "setting", "message"),
    [
        ("diswot", "form=maps", "allowed are auto, channel, classes, images, images_relu"),
        ("diswot", "floor=-1", "at least 0"),
        ("diswot", "combine=mean", "allowed are sum, zscore, rank"),
        ("effective_rank", "form=log", "allowed are sqrt_log, sqrt"),
        ("fisher", "count=kernels", "allowed are weights, channels"),
        ("grad_norm", "form=all", "allowed are layers, global"),
        ("grasp", "sign=other", "allowed are minus, plus"),
        ("grasp", "temperature=0", "give a positive number"),
        ("kd", "output=features", "allowed are logits, embedding, map, maps"),
        ("kd", "loss=null", "give a node"),
        ("synflow", "log=1", "give true or false"),
        ("synflow", "batch_norm=yes", "give true or false"),
        ("te_nas", "combine=sum", "allowed are rank, ntk, regions"),
        ("te_nas", "thin=0", "give true or false"),
        ("zen", "init=kaiming", "allowed are gaussian, run"),
        ("zen", "repeats=0", "at least 1"),
        ("zico", "batches=1", "at least 2"),
    ],
)
def test_bad_settings_are_refused(name: str, setting: str, message: str) -> None:
    written = setting.replace("null", "None")
    with pytest.raises(UserError, match=rf"^proxy\.{name}\.{written}\b.*{message}"):
        made(name, setting)


@pytest.mark.parametrize("proxy", ["semantic", "diswot"])
@pytest.mark.parametrize(
    ("space", "teacher", "widths"),
    [
        ("s0", "resnet8", None),
        ("s0", "resnet8x4", (256, 64)),
        ("s1", "resnet8", (64, "differing widths")),
    ],
)
def test_channels_are_compared_where_widths_agree(
    proxy: str, space: str, teacher: str, widths: tuple[Any, Any] | None
) -> None:
    words = [*TINY, f"space={space}", f"teacher={teacher}", f"proxy={proxy}", "device=cpu"]
    settings = Setup.from_config(compose("search", words, None)).proxies[proxy].settings()
    assert settings["form"] == ("images_relu" if widths else "channel")
    assert ("floor" in settings) == (widths is None)
    if widths:
        form = f"proxy.{proxy}.form=channel"
        with pytest.raises(UserError, match=form) as caught:
            Setup.from_config(compose("search", [*words, form], None))
        assert f"{teacher} has {widths[0]} channels" in str(caught.value)
        assert f"space {space} have {widths[1]}" in str(caught.value)


@pytest.mark.parametrize(
    ("space", "arch", "proxy", "reason"),
    [
        ("s1", NARROW, "fitnet", r"equal shapes.*\(6, 64, 4, 4\), student \(6, 8, 4"),
        ("s1", NARROW, "cc", r"equal shapes: teacher \(6, 64\), student \(6, 8\)"),
        ("s2", None, "at", "the teacher has 3 stages, the student 4"),
        ("nasbench201", ZEROS, "nwot", "two samples switch all ReLUs alike"),
        ("nasbench201", ZEROS, "jacov", "gradient is the same everywhere"),
        ("nasbench201", ZEROS, "epe_nas", "gradient is the same everywhere"),
        ("nasbench201", ZEROS, "zen", "the last map does not depend on the images"),
        ("nasbench201", ZEROS, "te_nas", "the kernel is singular"),
        ("nasbench201", ZEROS, "zico", "no layer has a gradient"),
    ],
)
def test_reasons(
    company_on: Callable[[str], Company], space: str, arch: str | None, proxy: str, reason: str
) -> None:
    company = company_on(space)
    asked = company.scorer.space.parse(arch) if arch else company.archs[0]
    failed = company.some([proxy]).measure(asked)
    assert failed.parts == {}
    assert re.search(reason, failed.failures[proxy])


def test_networks_without_relus_or_layers_have_no_score(golden: Any) -> None:
    agreement = made("nwot")
    with agreement.observe(nn.Module()) as seen, pytest.raises(ValueError, match=r"no nn\.ReLU"):
        agreement.measure(ProxyInput("a", 0, Cost(1, 1, 1), golden.batch, observed=seen))
    regions, network = made("te_nas", "combine=regions"), nn.Sequential(nn.Conv2d(3, 2, 3)).double()
    with pytest.raises(ValueError, match=r"no nn\.ReLU"):
        regions.measure(ProxyInput("a", 0, Cost(1, 1, 1), golden.batch, network))
    inputs = replace(golden.inputs("plain_a", made("fisher")), layers=())
    for proxy in (made("fisher"), made("effective_rank")):
        with pytest.raises(ValueError, match="calls no convolution and no linear layer"):
            proxy.measure(inputs)


def test_mini_batches_that_are_too_small(golden: Any) -> None:
    batch = MiniBatch(golden.batch.images[:6], torch.arange(6))
    with pytest.raises(ValueError, match="no class has two of the 6 images"):
        golden.measured("plain_a", made("epe_nas"), batch=batch)
    with pytest.raises(UserError, match=r"proxy\.zico\.batches=7: a mini-batch of 6 images"):
        golden.measured("plain_a", made("zico", "batches=7"), batch=batch)


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


def summary(seed: int = 0, size: int = 7) -> dict[str, list[float]]:
    """Which sample stands where, in everything that is kept."""
    count = torch.arange(size)
    maps = tuple(count.view(-1, 1, 1, 1).expand(-1, 2, side, side) for side in (4, 2))
    outputs = NetworkOutputs(maps, maps, count[:, None], count[:, None])
    batch = MiniBatch(torch.zeros(size, 1, 4, 4), count)
    made = Shuffled(Numbers(name="numbers"), seed).summarize(outputs, batch, nn.Identity())
    return {name: tensor.reshape(size, -1)[:, 0].tolist() for name, tensor in made.items()}


@pytest.mark.parametrize("size", [2, 3, 64])
def test_all_the_teacher_gave_moves_alike_in_one_cycle_and_labels_stay(size: int) -> None:
    orders = summary(size=size)
    assert orders.pop("labels") == list(range(size))
    assert len(orders) == 6
    [order] = {tuple(map(int, order)) for order in orders.values()}
    assert sorted(order) == list(range(size))
    place, steps = order[0], 1
    while place:
        place, steps = order[place], steps + 1
    assert steps == size


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
