"""AZ-NAS against its formulas, written out with numpy."""

from __future__ import annotations

from itertools import pairwise
from math import log
from typing import Any

import numpy as np
import pytest
import torch
from proxy_helpers import made
from torch import Tensor, nn
from torch.nn import functional as F

from diswot.data import MiniBatch
from diswot.keys import generator
from diswot.models.adapter import AdaptedNetwork
from diswot.models.cells import CellNetwork
from diswot.models.init import Kaiming
from diswot.models.outputs import Cost
from diswot.models.resnet import CifarResNet, WideResNet
from diswot.proxies.base import Components, ProxyInput
from diswot.proxies.functional import covariance_entropy, jacobian_stability

IMAGES = torch.randn(3, 3, 12, 12, dtype=torch.float64, generator=generator("test images"))
CONVOLUTIONS = ["nor_conv_3x3", "none", "skip_connect", "nor_conv_1x1", "none", "avg_pool_3x3"]


def drawn(network: nn.Module, seed: int = 0) -> nn.Module:
    Kaiming()(network.double(), seed=seed, role="student")
    return network.train()


def resnet(seed: int = 0) -> Any:
    return drawn(CifarResNet([2, 1, 1], [8, 8, 16, 16]), seed)


def measured(network: nn.Module, *settings: str, images: Tensor = IMAGES) -> Components:
    batch = MiniBatch(images, torch.arange(len(images)))
    shown = ProxyInput("a", 3, Cost(7, 11, 3), batch, network)
    return made("az_nas", *settings).measure(shown)


def signs(shape: torch.Size, number: int) -> Tensor:
    key = generator("az_nas proxy", 3, "signs", number)
    return torch.randint(2, shape, generator=key).double() * 2 - 1


def entropy(features: Tensor) -> float:
    points = features.detach().permute(1, 0, 2, 3).flatten(1).numpy()
    shares = np.linalg.eigvalsh(np.cov(points, bias=True))
    shares = shares / shares.sum()
    return float(-sum(p * np.log(p + 1e-8) for p in shares))


def stability(block: Any, entered: Tensor, number: int) -> float:
    after = signs(block(entered).shape, number)
    before = torch.autograd.functional.vjp(block, entered, after)[1]
    patches = F.pixel_unshuffle(before, entered.shape[2] // after.shape[2])
    matrix = np.zeros((patches.shape[1], after.shape[1]))
    for image in range(len(after)):
        for row in range(after.shape[2]):
            for column in range(after.shape[3]):
                matrix += np.outer(patches[image, :, row, column], after[image, :, row, column])
    norm = np.linalg.norm(matrix / after[:, 0].numel(), 2)
    return float(2 - norm - 1 / (norm + 1e-6))


def written_out(network: Any, images: Tensor) -> Components:
    x = network.stem(images).detach()
    entropies, stabilities = [entropy(x)], []
    for number, block in enumerate(block for stage in network.stages for block in stage):
        stabilities.append(stability(block, x, number))
        x = block(x).detach()
        entropies.append(entropy(x))
    return {
        "expressivity": sum(entropies),
        "progressivity": min(after - before for before, after in pairwise(entropies)),
        "trainability": float(np.mean(stabilities)),
        "complexity": 11.0,
    }


@pytest.mark.parametrize(
    ("settings", "seed"), [((), 3), (("inputs=images", "init=run"), 0), (("init=run",), 0)]
)
def test_it_is_the_formula(settings: tuple[str, ...], seed: int) -> None:
    noise = torch.randn(IMAGES.shape, generator=generator("az_nas proxy", 3)).double()
    images = IMAGES if "inputs=images" in settings else noise
    expected = written_out(resnet(seed), images)
    assert measured(resnet(), *settings) == pytest.approx(expected, rel=1e-9)
    assert measured(resnet(5), *settings) != measured(resnet(), *settings) or not settings


def test_score_is_the_sum_of_logarithms_of_ranks() -> None:
    proxy = made("az_nas")
    seen = [{"e": 5.0, "p": 1.0}, {"e": 6.0, "p": -1.0}, {"e": 7.0, "p": 0.0}, {"e": 5.0, "p": 3.0}]
    ranks = [(1.5, 3), (3, 1), (4, 2), (1.5, 4)]
    expected = [log(one / 4) + log(other / 4) for one, other in ranks]
    assert proxy.relative
    assert proxy.fitness(seen) == pytest.approx(expected, rel=1e-12)
    assert proxy.fitness(seen[:1]) == [0.0]
    assert proxy.fitness([]) == []


def test_all_kinds_of_blocks_are_found() -> None:
    cells = drawn(CellNetwork(CONVOLUTIONS, widths=(4, 8), cells=1))
    wide = drawn(WideResNet(10, 1))
    for network, images in ((cells, IMAGES), (cells, IMAGES[..., :11, :9]), (wide, IMAGES)):
        components = measured(network, images=images)
        assert components["trainability"] <= 1e-6
        assert len(components) == 4


def test_without_blocks_the_stages_count() -> None:
    def stage(before: int, after: int) -> nn.Module:
        convolution = nn.Conv2d(before, after, 3, 2, padding=1, bias=False)
        return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU(inplace=True))

    body = {"a": stage(3, 4), "b": stage(4, 6), "c": stage(6, 8), "pool": nn.AdaptiveAvgPool2d(1)}
    model = nn.Sequential()
    for name, module in {**body, "flat": nn.Flatten(), "fc": nn.Linear(8, 10)}.items():
        model.add_module(name, module)
    network = drawn(AdaptedNetwork(model, ["a", "b", "c"], "fc"))
    images = IMAGES[..., :8, :8]
    maps = [model.a(images)]
    for each in (model.b, model.c):
        maps.append(each(maps[-1].detach()))
    scores = [stability(model.b, maps[0].detach(), 0), stability(model.c, maps[1].detach(), 1)]
    components = measured(network, "inputs=images", "init=run", images=images)
    assert components["trainability"] == pytest.approx(np.mean(scores), rel=1e-9)
    assert components["expressivity"] == pytest.approx(sum(map(entropy, maps)), rel=1e-9)
    assert not images.requires_grad
    with pytest.raises(ValueError, match="neither a block nor a second stage"):
        measured(drawn(AdaptedNetwork(model, ["a"], "fc")))


@pytest.mark.parametrize(
    ("operations", "reason"),
    [
        (["none", "none", "none", "skip_connect", "none", "none"], "passes its input on"),
        (["none"] * 6, "same everywhere"),
    ],
)
def test_blocks_that_do_nothing_have_no_score(operations: list[str], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        measured(drawn(CellNetwork(operations, widths=(4, 8), cells=1)))


def test_fewer_points_than_channels_give_the_same_entropy() -> None:
    features = torch.randn(3, 5, 1, 1, generator=generator("test features"), dtype=torch.float64)
    assert covariance_entropy(features).item() == pytest.approx(entropy(features), rel=1e-6)


def test_odd_maps_are_filled_up_with_zeros() -> None:
    before = torch.randn(2, 3, 5, 7, generator=generator("test gradient"), dtype=torch.float64)
    after = signs(torch.Size((2, 4, 3, 4)), 0)
    filled = F.pad(before, (0, 1, 0, 1))
    assert jacobian_stability(before, after) == jacobian_stability(filled, after)
