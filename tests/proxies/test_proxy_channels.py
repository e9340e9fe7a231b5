"""Proxies of the channels' correlation against numpy, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any

import numpy as np
import pytest
import torch
from proxy_helpers import Company, made
from torch import Tensor, nn

from diswot.data import MiniBatch
from diswot.errors import UserError
from diswot.keys import generator
from diswot.models.init import Kaiming
from diswot.models.outputs import Cost
from diswot.models.resnet import CifarResNet
from diswot.proxies import functional
from diswot.proxies.base import ProxyInput
from diswot.proxies.channels import EffectiveParams
from diswot.proxies.passes import Layer


def correlation(maps: Tensor) -> Any:
    """By numpy, over images and positions."""
    rows = maps.detach().double().numpy().transpose(1, 0, 2, 3).reshape(maps.shape[1], -1)
    return np.atleast_2d(np.corrcoef(rows))


def conv_outputs(inputs: ProxyInput) -> list[tuple[nn.Module, Tensor]]:
    calls = [(call.module, call.output) for call in inputs.layers]
    return [(module, output) for module, output in calls if isinstance(module, nn.Conv2d)]


def shown(*outputs: Tensor, seed: int = 0) -> ProxyInput:
    layers = [
        Layer(f"conv{i}", nn.Conv2d(2, o.shape[1], 3), (o, o))
        for i, o in enumerate(outputs, start=1)
    ]
    batch = MiniBatch(torch.zeros(2, 3, 4, 4), torch.zeros(2).long())
    return ProxyInput("a", seed, Cost(1, 1, 1), batch, nn.Identity(), layers=layers)


@pytest.mark.parametrize("weight", ["channels", "sqrt_fan_in"])
@pytest.mark.parametrize("net", ["plain_a", "plain_c"])
def test_effective_width_written_out(golden: Any, net: str, weight: str) -> None:
    proxy = made("effective_width", f"weight={weight}", "inputs=images")
    expected = 0.0
    for module, output in conv_outputs(golden.inputs(net, proxy)):
        channels, fan_in = output.shape[1], module.get_parameter("weight")[0].numel()
        factor = channels if weight == "channels" else sqrt(fan_in)
        expected += factor * channels**2 / (correlation(output) ** 2).sum()
    assert golden.measured(net, proxy) == pytest.approx(expected, rel=1e-9)


def test_effective_width_of_noise() -> None:
    network = CifarResNet((1, 1, 1), [8, 8, 16, 16])
    Kaiming()(network, seed=0, role="student")
    batch = MiniBatch(torch.zeros(6, 3, 16, 16), torch.zeros(6).long())
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    given = [ProxyInput("a", s, Cost(1, 1, 1), batch, network.train()) for s in (3, 3, 4)]
    proxy = made("effective_width", "noise_images=6")
    assert (proxy.needs_forward, proxy.needs_layers) == (False, False)
    one, again, other = (proxy.measure(each)["effective_width"] for each in given)
    assert one == again != other
    assert all(torch.equal(state[name], t) for name, t in network.state_dict().items())
    noise = torch.randn(6, 3, 16, 16, generator=generator("noise of channels", 3))
    outputs, seen = dict[nn.Module, Tensor](), given[0].copy()
    for module in seen.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda m, i, o: outputs.__setitem__(m, o))
    seen(noise)
    widths = [o.shape[1] ** 3 / (correlation(o) ** 2).sum() for o in outputs.values()]
    assert one == pytest.approx(sum(widths), rel=1e-5)


def test_effective_width_of_dead_and_repeated_channels() -> None:
    free = torch.randn(4, 3, 5, 5, generator=generator("maps"))
    repeated = torch.cat([free, -2 * free + 1], dim=1)
    dead = torch.cat([free, torch.full((4, 2, 5, 5), 0.1)], dim=1)
    width = functional.effective_width(free)
    for maps in (repeated, dead):
        torch.testing.assert_close(functional.effective_width(maps), width, rtol=1e-6, atol=0)
    assert functional.effective_width(dead[:, 3:]) == 0
    proxy = made("effective_width", "inputs=images")
    own = proxy.measure(shown(free, dead[:, 3:]))["effective_width"]
    assert own == pytest.approx(3 * width.item())
    assert functional.effective_width(free[:, :1]) == pytest.approx(1)


def test_effective_width_on_the_smaller_side() -> None:
    maps = torch.randn(2, 40, 3, 3, generator=generator("maps"), dtype=torch.float64)
    expected = 40**2 / (correlation(maps) ** 2).sum()
    assert functional.effective_width(maps).item() == pytest.approx(expected, rel=1e-12)
    assert expected < 18


@pytest.mark.parametrize("images", ["1", "3", "null"])
def test_meco_written_out(golden: Any, images: str) -> None:
    proxy = made("meco", f"images={images}")
    expected, terms = 0.0, 0
    for _, output in conv_outputs(golden.inputs("plain_c", proxy)):
        maps = output if images == "null" else output[: int(images)]
        if len(maps) * maps[0, 0].numel() > maps.shape[1]:
            least = np.linalg.eigvalsh(correlation(maps))[0]
            terms += least > 0
            expected += least
    assert terms
    assert golden.measured("plain_c", proxy) == pytest.approx(expected, rel=1e-9)


def test_meco_opt_takes_eight_channels() -> None:
    wide, narrow = (
        torch.randn(2, width, 6, 6, generator=generator("maps", width)) for width in (24, 5)
    )
    key = generator("meco_opt proxy", 7, "conv1", 24)
    chosen = wide[:1, torch.randperm(24, generator=key)[:8]]
    expected = 3 * np.linalg.eigvalsh(correlation(chosen))[0]
    expected += np.linalg.eigvalsh(correlation(narrow[:1]))[0]
    [score] = made("meco_opt").measure(shown(wide, narrow, seed=7)).values()
    assert score == pytest.approx(expected, rel=1e-9)
    assert made("meco_opt").measure(shown(wide, narrow, seed=8)) != {"meco_opt": score}


def test_layers_that_cannot_be_independent_add_nothing() -> None:
    maps = torch.randn(1, 6, 3, 3, generator=generator("maps"))
    assert functional.least_eigenvalue(maps) > 0
    assert functional.least_eigenvalue(maps[..., :2]) == 0
    maps[:, 2] = 0.3
    assert functional.least_eigenvalue(maps) == 0
    with pytest.raises(ValueError, match="no layer has independent channels"):
        made("meco").measure(shown(maps))


@pytest.mark.parametrize("name", ["effective_width", "meco", "meco_opt"])
def test_a_network_without_convolutions_has_no_score(name: str) -> None:
    with pytest.raises(ValueError, match="the network calls no convolution"):
        made(name).measure(shown())


@pytest.mark.parametrize(
    ("name", "setting", "message"),
    [
        ("effective_width", "weight=fan", "allowed are channels, sqrt_fan_in"),
        ("effective_width", "inputs=ones", "allowed are noise, images"),
        ("meco", "images=0", "at least 1"),
        ("meco_opt", "images=1.5", "at least 1"),
    ],
)
def test_bad_settings_are_refused(name: str, setting: str, message: str) -> None:
    with pytest.raises(UserError, match=rf"^proxy\.{name}\.{setting}\b.*{message}"):
        made(name, setting)


def test_cells_that_give_zeros_have_a_score(company_on: Callable[[str], Company]) -> None:
    measured = company_on("nasbench201").measured[-1]
    assert all(name in measured.parts for name in ("effective_width", "meco", "meco_opt"))


def test_parameters_between_independent_channels() -> None:
    """Channels that repeat each other count once, on either side of a convolution."""
    first, second = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.Conv2d(4, 6, 1, bias=False)
    with torch.no_grad():
        first.weight[2:] = first.weight[:2]  # two channels, twice
    images = torch.randn(8, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    middle = first(images)
    calls = [Layer("0", first, (images, middle)), Layer("1", second, (middle, second(middle)))]
    inputs = ProxyInput("arch", 0, Cost(1, 1, 1), MiniBatch(images, torch.zeros(8)), layers=calls)
    [score] = EffectiveParams(name="effective_params", inputs="images").measure(inputs).values()

    def width(maps: Tensor) -> float:
        matrix = correlation(maps)
        return float(len(matrix) ** 2 / (matrix**2).sum())

    expected = 9 * width(images) * width(middle) + width(middle) * width(second(middle))
    assert score == pytest.approx(expected, rel=1e-6)
    assert width(middle) < 2.1
