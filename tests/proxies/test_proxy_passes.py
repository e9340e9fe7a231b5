"""Layers and gradients of one forward pass, and results that proxies share."""

import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diswot.data import MiniBatch
from diswot.models.cells import CellNetwork
from diswot.models.init import Kaiming
from diswot.proxies.passes import Gradients, Shared, record_layers, watch_relus, weighted, weights

DEAD_END = ["nor_conv_3x3", "skip_connect", "none", "nor_conv_1x1", "none", "none"]


class Twice(nn.Module):
    """Calls one convolution twice, and has another that it never calls."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.idle = nn.Conv2d(3, 3, 1)
        self.norm = nn.BatchNorm2d(3)
        self.relu = nn.ReLU()
        self.fc = nn.Linear(3, 4)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv(self.relu(self.norm(self.conv(images))))
        logits: Tensor = self.fc(maps.mean((2, 3)))
        return logits


def batch() -> MiniBatch:
    images = torch.randn((5, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    return MiniBatch(images.requires_grad_(), torch.arange(5) % 4)


def twice() -> nn.Module:
    network = Twice()
    Kaiming()(network, seed=0, role="student")
    return network.train()


def cells() -> nn.Module:
    network = CellNetwork(DEAD_END, widths=(4, 8), cells=1, num_classes=4)
    Kaiming()(network, seed=0, role="student")
    return network.train()


def test_every_call_of_a_layer_is_recorded() -> None:
    network, images = Twice(), batch().images
    assert list(weighted(network)) == ["conv", "idle", "fc"]
    own = [network.conv.weight, network.idle.weight, network.fc.weight]
    assert all(one is other for one, other in zip(weights(network).values(), own, strict=True))
    inputs: list[Tensor] = []
    with record_layers(network) as layers, watch_relus(network, lambda _, x: inputs.extend(x)):
        logits = network(images)
    assert [call.name for call in layers] == ["conv", "conv", "fc"]
    assert [call.module for call in layers] == [network.conv, network.conv, network.fc]
    assert layers[-1].output is logits
    assert torch.equal(layers[0].output, network.conv(images))
    assert torch.equal(inputs[0], network.norm(layers[0].output))
    network(images)
    assert (len(layers), len(inputs)) == (3, 1)


def test_hooks_end_with_an_error() -> None:
    network = Twice()
    with (
        pytest.raises(RuntimeError),
        record_layers(network),
        watch_relus(network, lambda module, inputs: None),
    ):
        network(torch.zeros(1, 7, 8, 8))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


@pytest.mark.parametrize(("build", "idle"), [(cells, "edge_0_1"), (twice, "idle")])
def test_gradients_are_those_of_plain_autograd(build: Callable[[], nn.Module], idle: str) -> None:
    network, shown = build(), batch()
    with record_layers(network) as layers:
        logits = network(shown.images)
    gradients = Gradients(network, shown, logits, layers)
    of_weights, outputs, images = gradients.weights, gradients.outputs, gradients.images
    assert all(weight.grad is None for weight in network.parameters())
    for call in layers:
        call.output.retain_grad()  # later than above: what is retained adds up over all passes
    F.cross_entropy(logits, shown.labels).backward(retain_graph=True)

    def expected(tensor: Tensor) -> Tensor:
        return torch.zeros_like(tensor) if tensor.grad is None else tensor.grad

    assert list(of_weights) == list(weights(network))
    for name, weight in weights(network).items():
        assert torch.equal(of_weights[name], expected(weight))
        assert of_weights[name].any() == (idle not in name)
    for call, gradient in zip(layers, outputs, strict=True):
        assert torch.equal(gradient, expected(call.output))
    shown.images.grad = None
    logits.sum().backward()
    assert torch.equal(images, expected(shown.images))


def test_each_backward_pass_runs_once_and_only_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    network, shown, calls = twice(), batch(), []
    grad = torch.autograd.grad

    def counted(*args: object, **settings: object) -> object:
        calls.append(args[0])
        return grad(*args, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.autograd, "grad", counted)
    gradients = Gradients(network, shown, network(shown.images))
    assert calls == []
    assert gradients.outputs == []
    assert gradients.weights.keys() == gradients.weights.keys()
    assert len(calls) == 1
    assert torch.equal(gradients.images, gradients.images)
    assert len(calls) == 2


def test_shared_work_is_done_once_and_counted_for_each_user() -> None:
    shared, done = Shared(), []

    def ask(*names: str) -> float:
        shared.restart()
        for name in names:
            assert shared.get(name, lambda name=name: done.append(name) or time.sleep(0.02)) is None
        return shared.reused_seconds

    assert ask("a") == 0
    first = ask("a", "a")
    assert first >= 0.02
    assert ask() == ask("b") == 0
    assert ask("a", "b") >= first + 0.02
    assert done == ["a", "b"]
    with pytest.raises(ZeroDivisionError):
        shared.get("c", lambda: 1 / 0)
    assert shared.get("c", lambda: 2.0) == 2
