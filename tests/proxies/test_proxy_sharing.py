"""What proxies share of one forward pass: layers, gradients, and work done once."""

from __future__ import annotations

import time

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from diswot.data import MiniBatch
from diswot.models.cells import CellNetwork
from diswot.models.init import Kaiming
from diswot.proxies.passes import Gradients, Shared, record_layers, weighted, weights

DEAD_END = ["nor_conv_3x3", "skip_connect", "none", "nor_conv_1x1", "none", "none"]


class Twice(nn.Module):
    """Calls one convolution twice, and has another that it never calls."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.idle = nn.Conv2d(3, 3, 1)
        self.norm = nn.BatchNorm2d(3)
        self.fc = nn.Linear(3, 4)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv(self.norm(self.conv(images)).relu())
        logits: Tensor = self.fc(maps.mean((2, 3)))
        return logits


def batch(count: int = 5) -> MiniBatch:
    draw = torch.Generator().manual_seed(0)
    images = torch.randn((count, 3, 8, 8), generator=draw)
    return MiniBatch(images.requires_grad_(), torch.arange(count) % 4)


def initialised(network: nn.Module) -> nn.Module:
    Kaiming()(network, seed=0, role="student")
    return network.train()


def cells() -> nn.Module:
    return initialised(CellNetwork(DEAD_END, widths=(4, 8), cells=1, num_classes=4))


def test_weights_are_those_of_convolutions_and_linear_layers() -> None:
    network = Twice()
    assert list(weighted(network)) == ["conv", "idle", "fc"]
    own = [network.conv.weight, network.idle.weight, network.fc.weight]
    assert all(one is other for one, other in zip(weights(network).values(), own, strict=True))


def test_every_call_of_a_layer_is_recorded() -> None:
    network, images = Twice(), batch().images
    with record_layers(network) as layers:
        logits = network(images)
    assert [call.name for call in layers] == ["conv", "conv", "fc"]
    assert [call.module for call in layers] == [network.conv, network.conv, network.fc]
    assert layers[-1].output is logits
    assert torch.equal(layers[0].output, network.conv(images))
    network(images)
    assert len(layers) == 3


def test_hooks_end_with_an_error() -> None:
    network = Twice()
    with pytest.raises(RuntimeError), record_layers(network):
        network(torch.zeros(1, 7, 8, 8))
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize("make", [cells, lambda: initialised(Twice())])
def test_gradients_are_those_of_plain_autograd(make: object) -> None:
    network = make()  # type: ignore[operator]
    told = batch()
    with record_layers(network) as layers:
        logits = network(told.images)
    gradients = Gradients(network, told, logits, layers)
    found, outputs, images = gradients.weights, gradients.outputs, gradients.images
    assert all(weight.grad is None for weight in network.parameters())
    for call in layers:
        call.output.retain_grad()  # later than above: what is retained adds up over all passes
    functional.cross_entropy(logits, told.labels).backward(retain_graph=True)
    assert list(found) == list(weights(network))
    for name, weight in weights(network).items():
        expected = torch.zeros_like(weight) if weight.grad is None else weight.grad
        assert torch.equal(found[name], expected)
    for call, gradient in zip(layers, outputs, strict=True):
        expected = torch.zeros_like(call.output) if call.output.grad is None else call.output.grad
        assert torch.equal(gradient, expected)
    told.images.grad = None
    logits.sum().backward()
    assert torch.equal(images, told.images.grad)  # type: ignore[arg-type]


@pytest.mark.parametrize(("make", "idle"), [(cells, "edge_0_1"), (Twice, "idle")])
def test_weights_that_are_not_reached_have_gradients_of_zeros(make: object, idle: str) -> None:
    network, told = initialised(make()), batch()  # type: ignore[operator]
    found = Gradients(network, told, network(told.images)).weights
    zeros = {name for name, gradient in found.items() if not gradient.any()}
    assert zeros == {name for name in found if idle in name} != set()
    shapes = {name: weight.shape for name, weight in weights(network).items()}
    assert {name: gradient.shape for name, gradient in found.items()} == shapes


def test_each_backward_pass_runs_once_and_only_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    network, told, calls = initialised(Twice()), batch(), []
    grad = torch.autograd.grad

    def counted(*args: object, **settings: object) -> object:
        calls.append(args[0])
        return grad(*args, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.autograd, "grad", counted)
    gradients = Gradients(network, told, network(told.images))
    assert calls == []
    assert gradients.outputs == []
    assert gradients.weights.keys() == gradients.weights.keys()
    assert len(calls) == 1
    assert torch.equal(gradients.images, gradients.images)
    assert len(calls) == 2


def test_shared_work_is_done_once_and_counted_for_each_user() -> None:
    shared, done = Shared(), []

    def work(name: str, seconds: float) -> str:
        done.append(name)
        time.sleep(seconds)
        return name

    def ask(*names: str) -> float:
        shared.restart()
        for name in names:
            assert shared.get(name, lambda: work(name, 0.02)) == name  # noqa: B023
        return shared.reused_seconds

    assert ask("a") == 0
    first = ask("a", "a")
    assert first >= 0.02
    assert ask() == 0
    assert ask("b") == 0
    assert ask("a", "b") >= first + 0.02
    assert done == ["a", "b"]


def test_shared_work_that_fails_is_tried_again() -> None:
    shared = Shared()
    with pytest.raises(ZeroDivisionError):
        shared.get("a", lambda: 1 / 0)
    assert shared.get("a", lambda: 2.0) == 2
