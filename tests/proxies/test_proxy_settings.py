"""Settings that are refused, and reasons why an architecture has no score."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from proxy_helpers import Company, made
from torch import nn

from diswot.data import MiniBatch
from diswot.errors import UserError
from diswot.models.outputs import Cost
from diswot.proxies.base import ProxyInput

ZEROS = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
NARROW = "s1:8/b3x1-8-8/b3x1-8-8/b3x1-8-8"


@pytest.mark.parametrize(
    ("name", "setting", "message"),
    [
        ("diswot", "form=maps", "allowed are auto, channel, cam"),
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
    ("space", "teacher", "form"),
    [("s0", "resnet56", "channel"), ("s1", "resnet56", "cam"), ("s0", "resnet32x4", "cam")],
)
def test_auto_takes_channels_where_widths_agree(
    setup_of: Callable[..., Any], proxy: str, space: str, teacher: str, form: str
) -> None:
    setup = setup_of(f"space={space}", f"teacher={teacher}", f"proxy={proxy}")
    settings = setup.proxies[proxy].settings()
    assert settings["form"] == form
    assert ("floor" in settings) == (form == "channel")


@pytest.mark.parametrize("proxy", ["semantic", "diswot"])
@pytest.mark.parametrize(
    ("space", "teacher", "widths"),
    [("s0", "resnet8x4", (256, 64)), ("s1", "resnet8", (64, "differing widths"))],
)
def test_channels_of_other_widths_are_refused(
    setup_of: Callable[..., Any], proxy: str, space: str, teacher: str, widths: tuple[Any, Any]
) -> None:
    form = f"proxy.{proxy}.form=channel"
    with pytest.raises(UserError, match=form) as caught:
        setup_of(f"space={space}", f"teacher={teacher}", f"proxy={proxy}", form)
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
