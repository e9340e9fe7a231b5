"""Proxies with passes of their own against numbers of other people's code, in float64."""

from __future__ import annotations

from math import log
from typing import Any

import pytest
import torch
from golden_network import golden_network, golden_subject
from torch import Tensor, nn

from diswot.data import MiniBatch
from diswot.errors import UserError
from diswot.keys import generator
from diswot.models.cells import CellNetwork
from diswot.models.cost import Cost
from diswot.models.init import Gaussian, Kaiming
from diswot.models.resnet import CifarResNet
from diswot.proxies import Proxy
from diswot.proxies.base import ProxyInput
from diswot.proxies.functional.te_nas import condition_number, count_patterns
from diswot.proxies.functional.zico import inverse_variation
from diswot.proxies.passes import weights
from diswot.proxies.synflow import Synflow
from diswot.proxies.te_nas import TENAS, linear_regions, tangent_kernel
from diswot.proxies.zen import Zen, zen_score
from diswot.proxies.zico import ZiCo

NETS = ("res_111", "res_333", "plain_a", "plain_c")
MODES = ("train", "eval")
CLOSE = 1e-6
OWN = [Synflow, Zen, ZiCo, TENAS]


def told(golden: Any, net: str, mode: str, entry: str) -> Any:
    return pytest.approx(golden.told["scores"][net][mode][entry]["f64"], rel=CLOSE)


def measured(network: nn.Module, proxy: Proxy, *, images: Tensor | None = None) -> dict[str, float]:
    key = generator("test images")
    images = torch.randn(6, 3, 16, 16, generator=key) if images is None else images
    batch = MiniBatch(images, torch.arange(len(images)) % 10)
    return proxy.measure(ProxyInput("net", 3, Cost(1, 1, 1), batch, network.train()))


def resnet(*depths: int, seed: int = 0, shortcut: str = "B") -> CifarResNet:
    network = CifarResNet(depths or (1, 1, 1), [4, 4, 8, 16], shortcut=shortcut)
    Kaiming()(network, seed=seed, role="student")
    return network


def cells(*operations: str) -> CellNetwork:
    network = CellNetwork(operations, widths=(4, 8), cells=1)
    Kaiming()(network, seed=0, role="student")
    return network


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("net", NETS)
def test_synflow(golden: Any, net: str, batch_norm: bool, mode: str) -> None:
    proxy = Synflow(name="synflow", batch_norm=batch_norm)
    entry = "zcnas.synflow_bn" if batch_norm else "zcnas.synflow"
    found = proxy.measure(golden_subject(golden, net, mode, proxy))
    assert found == {"synflow": told(golden, net, mode, entry)}


def test_synflow_written_out() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    first, bias = torch.tensor([[1.0, -2.0], [-3.0, 4.0]]), torch.tensor([-0.5, 0.5])
    last = torch.tensor([[-1.0, 2.0]])
    network.load_state_dict(
        {"1.weight": first, "1.bias": bias, "3.weight": last, "3.bias": bias[:1]}
    )
    # dR/dw is |last| for the first layer, the hidden units |first| · 1 + |bias| for the last.
    terms = [(1, 1), (2, 1), (3, 2), (4, 2), (1, 3.5), (2, 7.5)]
    images = torch.randn(1, 1, 1, 2)
    found = measured(network, Synflow(name="synflow"), images=images)
    assert found == {"synflow": pytest.approx(sum(w * g for w, g in terms), rel=1e-12)}
    found = measured(network, Synflow(name="log_synflow", log=True), images=images)
    expected = sum(w * log(1 + g) for w, g in terms)
    assert found == {"log_synflow": pytest.approx(expected, rel=1e-12)}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("net", NETS)
def test_zen_score(golden: Any, net: str, mode: str) -> None:
    other = golden.arrays["x2"].double()
    found = zen_score(golden_network(golden, net, mode), golden.images, other)
    assert found.item() == told(golden, net, mode, "zennas.zen_storedweights")


def noise(what: str, repeat: int) -> Tensor:
    return torch.randn(6, 3, 16, 16, generator=generator("zen proxy", 3, what, repeat))


def test_zen_repeats_start_afresh() -> None:
    expected = []
    for repeat, role in enumerate(["student", "student 1"]):
        network = resnet()
        Gaussian()(network, seed=3, role=role)
        score = zen_score(network, noise("images", repeat), noise("direction", repeat))
        expected.append(score.item())
    assert expected[0] != pytest.approx(expected[1], rel=1e-3)
    for repeats in (1, 2):
        found = measured(resnet(), Zen(name="zen", repeats=repeats))
        mean = sum(expected[:repeats]) / repeats
        assert found == {"zen": pytest.approx(mean, rel=1e-5)}


def test_zen_weights() -> None:
    own, run = Zen(name="zen"), Zen(name="zen", init="run")
    assert measured(resnet(), own) == measured(resnet(seed=1), own)
    assert measured(resnet(), run) != measured(resnet(seed=1), run)
    expected = zen_score(resnet(), noise("images", 0), noise("direction", 0)).item()
    assert measured(resnet(), run) == {"zen": pytest.approx(expected, rel=1e-5)}


def zico_batch(golden: Any, entry: str) -> tuple[MiniBatch, int]:
    images, labels = golden.images, golden.labels
    if entry in ("8x4_x_then_x2", "2x16"):
        images = torch.cat([images, golden.arrays["x2"].double()])
        labels = torch.cat([labels, golden.arrays["y2"]])
    return MiniBatch(images, labels), int(entry[0])


@pytest.mark.parametrize("entry", ["4x4", "8x4_x_then_x2", "2x8", "2x16"])
@pytest.mark.parametrize("net", NETS)
def test_zico(golden: Any, net: str, entry: str) -> None:
    batch, batches = zico_batch(golden, entry)
    proxy = ZiCo(name="zico", batches=batches)
    found = proxy.measure(golden_subject(golden, net, "train", proxy, batch=batch))
    expected = golden.told["scores"][net]["train"][f"zico.{entry}"]["f64"]
    loose = {"2x8": 2e-3, "2x16": 3e-2}.get(entry, CLOSE)
    assert found == {"zico": pytest.approx(expected, rel=loose)}


def test_inverse_variation_leaves_out_what_never_changes() -> None:
    gradients = torch.tensor([[1.0, 5.0, 0.0, -2.0], [3.0, 5.0, 0.0, 2.0]])
    assert inverse_variation(gradients).item() == pytest.approx(2 / 1 + 2 / 2)
    assert inverse_variation(gradients[:, 1:3]).item() == 0
    alike = torch.tensor([0.1, 0.7, 1 / 3], dtype=torch.float64).repeat(3, 1)
    assert inverse_variation(alike).item() == 0


def test_zico_uses_equal_parts() -> None:
    images = torch.randn(7, 3, 16, 16, generator=generator("test images"))
    two, three = ZiCo(name="zico"), ZiCo(name="zico", batches=3)
    for proxy in (two, three):
        short = measured(resnet(), proxy, images=images[:6])
        assert measured(resnet(), proxy, images=images) == short
    assert measured(resnet(), two) != measured(resnet(), three)


def test_zico_leaves_out_layers_that_are_not_reached() -> None:
    # The convolution on the edge 0 → 1 leads nowhere.
    blind = cells("nor_conv_3x3", "skip_connect", "none", "nor_conv_1x1", "none", "none")
    assert measured(blind, ZiCo(name="zico"))["zico"] != 0
    unused = [name for name in weights(blind) if "edge_0_1" in name]
    assert len(unused) == 2
    without = cells("none", "skip_connect", "none", "nor_conv_1x1", "none", "none")
    assert measured(without, ZiCo(name="zico")) == measured(blind, ZiCo(name="zico"))


@pytest.mark.parametrize("net", NETS)
def test_te_nas_kernel(golden: Any, net: str) -> None:
    proxy = TENAS(name="te_nas", combine="ntk")
    found = proxy.measure(golden_subject(golden, net, "train", proxy))
    assert found == {"ntk": told(golden, net, "train", "zennas.te_ntk")}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("net", NETS)
def test_te_nas_regions(golden: Any, net: str, mode: str) -> None:
    network = golden_network(golden, net, mode)
    assert linear_regions(network, golden.images) == told(golden, net, mode, "zennas.te_rn")
    twice = golden.images[:8].repeat(2, 1, 1, 1)
    assert linear_regions(network, twice) == 8


def test_te_nas_kernel_takes_the_first_images() -> None:
    images = torch.randn(20, 3, 16, 16, generator=generator("test images"))
    proxy = TENAS(name="te_nas", combine="ntk")
    found = measured(resnet(), proxy, images=images)
    assert found == measured(resnet(), proxy, images=images[:16])
    assert found != measured(resnet(), proxy, images=images[:15])


def test_the_tangent_kernel_written_out() -> None:
    network, images = resnet().double(), torch.randn(3, 3, 8, 8, dtype=torch.float64)
    kernel, rows = tangent_kernel(network, images), []
    for index in range(3):
        network.zero_grad()
        network(images)[index].sum().backward()
        named = network.named_parameters()
        rows.append(torch.cat([p.grad.flatten() for n, p in named if "weight" in n]))  # type: ignore[union-attr]
    jacobian = torch.stack(rows)
    torch.testing.assert_close(kernel, jacobian @ jacobian.T, rtol=1e-10, atol=1e-12)


def test_te_nas_parts() -> None:
    both, ntk, regions = (TENAS(name="te_nas", combine=c) for c in ("rank", "ntk", "regions"))
    found = measured(resnet(), both)
    assert found == {**measured(resnet(), ntk), **measured(resnet(), regions)}
    assert [proxy.relative for proxy in (both, ntk, regions)] == [True, False, False]
    parts = [{"ntk": -9.0, "regions": 5.0}, {"ntk": -1.0, "regions": 6.0}]
    assert both.fitness([*parts, {"ntk": -4.0, "regions": 6.0}]) == [2.0, 5.5, 4.5]
    assert ntk.fitness([{"ntk": -9.0}]) == [-9.0]


@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_te_nas_regions_differ_only_one_channel_wide(shortcut: str) -> None:
    thin, full = (TENAS(name="te_nas", combine="regions", thin=t) for t in (True, False))
    found = {measured(resnet(d, d, d, shortcut=shortcut), thin)["regions"] for d in (1, 2, 3)}
    assert len(found) > 1
    assert all(10 < count < 1000 for count in found)
    assert measured(resnet(shortcut=shortcut), full)["regions"] > max(found)


def test_condition_number() -> None:
    assert condition_number(torch.diag(torch.tensor([8.0, 2.0, 4.0]).double())).item() == 4
    row = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)
    for singular in (row.T @ row, torch.zeros(3, 3).double()):
        with pytest.raises(ValueError, match="singular"):
            condition_number(singular)
    with pytest.raises(ValueError, match="not finite"):
        condition_number(torch.full((2, 2), torch.nan).double())


def test_count_patterns() -> None:
    rows = torch.tensor([[1, 0, 1], [1, 0, 1], [1, 0, 0], [0, 0, 1]]).bool()
    assert count_patterns(rows) == 3
    assert count_patterns(torch.zeros(4, 17).bool()) == 1


@pytest.mark.parametrize("make", OWN)
def test_nothing_of_the_network_changes(make: Any) -> None:
    network, state = resnet().train(), torch.get_rng_state()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    proxy = make(name="p")
    found = measured(network, proxy)
    assert measured(network, proxy) == found
    assert all(torch.equal(before[name], t) for name, t in network.state_dict().items())
    assert all(p.grad is None and p.dtype == torch.float32 for p in network.parameters())
    assert not any(
        module._forward_hooks or module._forward_pre_hooks for module in network.modules()
    )
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("proxy", "reason"),
    [
        (Zen(name="p"), "does not depend on the images"),
        (ZiCo(name="p"), "no layer has a gradient"),
        (TENAS(name="p", combine="ntk"), "singular"),
    ],
)
def test_a_network_that_ignores_its_images(proxy: Proxy, reason: str) -> None:
    nothing = cells(*["none"] * 6)
    with pytest.raises(ValueError, match=reason):
        measured(nothing, proxy)


def test_regions_need_a_relu() -> None:
    network = nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.Flatten())
    with pytest.raises(ValueError, match=r"no nn\.ReLU"):
        measured(network, TENAS(name="p", combine="regions"))


@pytest.mark.parametrize(
    ("make", "setting", "message"),
    [
        (Synflow, {"log": 1}, r"proxy\.p\.log=1 .*true or false"),
        (Synflow, {"batch_norm": "yes"}, r"proxy\.p\.batch_norm=yes"),
        (Zen, {"init": "kaiming"}, r"proxy\.p\.init=kaiming: allowed are gaussian, run"),
        (Zen, {"repeats": 0}, r"proxy\.p\.repeats=0 .*at least 1"),
        (ZiCo, {"batches": 1}, r"proxy\.p\.batches=1 .*at least 2"),
        (TENAS, {"combine": "sum"}, r"proxy\.p\.combine=sum: allowed are rank, ntk, regions"),
        (TENAS, {"thin": 0}, r"proxy\.p\.thin=0"),
    ],
)
def test_bad_settings_are_refused(make: Any, setting: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(name="p", **setting)


def test_a_mini_batch_too_small_to_split_is_refused() -> None:
    with pytest.raises(UserError, match=r"proxy\.p\.batches=7: a mini-batch of 6 images"):
        measured(resnet(), ZiCo(name="p", batches=7))


def test_settings_are_told() -> None:
    assert Synflow(name="p").settings() == {"log": False, "batch_norm": False}
    assert Zen(name="p", repeats=2).settings() == {"init": "gaussian", "repeats": 2}
    assert ZiCo(name="p").settings() == {"batches": 2}
    assert TENAS(name="p").settings() == {"combine": "rank", "thin": True}
