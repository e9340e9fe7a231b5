"""WRCor against its formula, written out with numpy."""

from __future__ import annotations

from collections.abc import Sequence
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
from diswot.models.outputs import Cost, NetworkOutputs
from diswot.models.resnet import CifarResNet, WideResNet
from diswot.proxies.base import ProxyInput
from diswot.proxies.functional import response_correlation, weighted_response_correlation

IMAGES = torch.randn(5, 3, 8, 8, dtype=torch.float64, generator=generator("test images"))
LABELS = torch.tensor([3, 1, 4, 1, 5])


def drawn(network: nn.Module) -> Any:
    Kaiming()(network.double(), seed=0, role="student")
    return network.train()


def measured(network: Any, images: Tensor = IMAGES) -> float:
    proxy = made("wrcor")
    with torch.enable_grad(), proxy.observe(network) as observed:
        outputs = network.outputs(images)
    batch, cost = MiniBatch(images, LABELS[: len(images)]), Cost(7, 11, 3)
    shown = ProxyInput("a", 3, cost, batch, network, outputs, observed=observed)
    return proxy.measure(shown)["wrcor"]


def score(maps: Sequence[tuple[int, Tensor]], logits: Tensor) -> float:
    """Of the maps that ReLUs read, each with the number of its block."""
    loss = -logits.log_softmax(1)[range(len(logits)), LABELS].mean()
    gradients = torch.autograd.grad(loss, [each for _, each in maps], retain_graph=True)
    total = np.zeros((len(logits), len(logits)))
    for (block, entered), gradient in zip(maps, gradients, strict=True):
        for response in (entered, gradient):
            rows = response.detach().numpy().reshape(len(logits), -1)
            total += 2**block * abs(np.corrcoef(rows))
    return float(np.linalg.slogdet(total)[1])


def test_it_is_the_formula_of_residual_blocks() -> None:
    network = drawn(CifarResNet([2, 1], [8, 8, 16]))
    stem = network.bn1(network.conv1(IMAGES))
    maps, x = [(0, stem)], F.relu(stem)
    for number, block in enumerate([*network.layer1, *network.layer2], start=1):
        inner = block.bn1(block.conv1(x))
        last = block.bn2(block.conv2(F.relu(inner))) + block.shortcut(x)
        maps += [(number, inner), (number, last)]
        x = F.relu(last)
    expected = score(maps, network.fc(x.mean((2, 3))))
    assert measured(network) == pytest.approx(expected, rel=1e-9)


def test_it_is_the_formula_of_cells() -> None:
    """The first node's map counts for both ReLUs that read it."""
    operations = ["nor_conv_3x3", "none", "none", "nor_conv_1x1", "skip_connect", "none"]
    network = drawn(CellNetwork(operations, widths=(4,), cells=2))
    x, maps = network.bn1(network.conv1(IMAGES)), []
    for number, cell in enumerate(network.cells, start=1):
        maps += [(number, x), (number, x)]
        middle = cell.edge_0_1.bn(cell.edge_0_1.conv(F.relu(x)))
        side = cell.edge_0_3.bn(cell.edge_0_3.conv(F.relu(x)))
        x = side + middle
    last = network.bn2(x)
    logits = network.fc(F.relu(last).mean((2, 3)))
    expected = score([*maps, (3, last)], logits)
    assert measured(network) == pytest.approx(expected, rel=1e-9)


def test_without_blocks_every_relu_is_one() -> None:
    model = nn.Sequential()
    for number, (before, after) in enumerate([(3, 4), (4, 6)], start=1):
        stage = nn.Sequential(nn.Conv2d(before, after, 3), nn.BatchNorm2d(after), nn.ReLU())
        model.add_module(f"layer{number}", stage)
    model.add_module("pool", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    model.add_module("fc", nn.Linear(6, 10))
    network = drawn(AdaptedNetwork(model, ["layer1", "layer2"], "fc"))
    first = model.layer1[:2](IMAGES)
    second = model.layer2[:2](F.relu(first))
    logits = model.fc(F.relu(second).mean((2, 3)))
    expected = score([(1, first), (2, second)], logits)
    assert measured(network) == pytest.approx(expected, rel=1e-9)


def test_depth_alone_adds_the_logarithm_of_two_for_every_image() -> None:
    correlation = response_correlation(IMAGES)
    once, deeper = (
        weighted_response_correlation([(depth, correlation)]).item() for depth in (1, 2)
    )
    assert deeper - once == pytest.approx(len(IMAGES) * np.log(2), rel=1e-12)
    assert np.isfinite(measured(drawn(WideResNet(10, 1))))


def test_responses_that_are_constant_do_not_count() -> None:
    dead = response_correlation(torch.zeros(5, 7))
    assert dead.isnan().all()
    alive = response_correlation(IMAGES)
    assert torch.equal(alive.diagonal(), torch.ones(5).double())
    pair = [(1, alive), (4, dead)]
    assert weighted_response_correlation(pair) == weighted_response_correlation(pair[:1])
    with pytest.raises(ValueError, match="no response"):
        weighted_response_correlation([(4, dead)])


def test_failures_have_a_reason() -> None:
    alike = [(0, torch.ones(2, 2)), (1, torch.ones(2, 2))]
    assert weighted_response_correlation(alike).item() == -np.inf

    class WithoutReLU(nn.Module):
        def outputs(self, images: Tensor) -> NetworkOutputs:
            pooled = images.mean((2, 3))
            return NetworkOutputs((images,), (images,), pooled, pooled)

    with pytest.raises(ValueError, match=r"calls no nn\.ReLU"):
        measured(WithoutReLU())
