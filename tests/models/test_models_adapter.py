"""Adapted networks of torchvision and timm."""

import copy
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from diswot.errors import UserError
from diswot.models import Network
from diswot.models.adapter import AdaptedNetwork, adapted
from diswot.models.zoo import timm_network, torchvision_network

LAYERS = ("layer1", "layer2", "layer3", "layer4")
MOBILE = ("features.3", "features.6", "features.18")


class Tiny(nn.Module):
    """In-place activations everywhere, one of them called twice, and one after the last stage."""

    def __init__(self, inplace: bool = True) -> None:
        super().__init__()
        self.a = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace))
        self.b = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4))
        self.relu = nn.ReLU(inplace)
        self.inplace = inplace
        self.fc = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.b(self.relu(self.a(x) - 0.5))
        x = self.relu(x)
        x = x.add_(1) if self.inplace else x + 1
        return self.fc(x.mean((2, 3)))


@pytest.mark.parametrize(
    ("build", "model", "stages", "classifier", "channels"),
    [
        (torchvision_network, "resnet34", LAYERS, "fc", (64, 128, 256, 512)),
        (torchvision_network, "mobilenet_v2", MOBILE, "classifier.1", (24, 32, 1280)),
        (timm_network, "resnet18", LAYERS, "fc", (64, 128, 256, 512)),
    ],
)
def test_outputs_are_what_the_plain_model_computes(
    build: Callable[..., AdaptedNetwork],
    model: str,
    stages: tuple[str, ...],
    classifier: str,
    channels: tuple[int, ...],
) -> None:
    torch.manual_seed(0)
    adapted = build(model, stages, classifier, num_classes=7).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        plain, outputs = adapted._model(images), adapted.outputs(images)
    assert isinstance(adapted, Network)
    assert torch.equal(outputs.logits, plain)
    sides = (16, 8, 2) if model == "mobilenet_v2" else (16, 8, 4, 2)
    shapes = [(2, width, side, side) for width, side in zip(channels, sides, strict=True)]
    assert [tuple(stage.shape) for stage in outputs.stages] == shapes
    torch.testing.assert_close(outputs.embedding, outputs.stages[-1].mean((2, 3)))
    torch.testing.assert_close(adapted.classifier(outputs.embedding), plain)
    before, after = outputs.preactivations, outputs.stages
    if model == "mobilenet_v2":  # linear bottlenecks, but the last stage ends in a ReLU6
        assert before[0] is after[0]
        assert torch.equal(before[-1].clamp(0, 6), after[-1])
    else:
        assert all(map(torch.equal, map(torch.relu, before), after))


def test_what_is_recorded_survives_operations_in_place() -> None:
    model = Tiny(inplace=True).eval()
    reference, images = Tiny(inplace=False).eval(), torch.randn(2, 3, 8, 8)
    reference.load_state_dict(model.state_dict())
    seen = [AdaptedNetwork(m, ["a", "b", "relu"], "fc").outputs(images) for m in (model, reference)]
    ours, expected = ([*o.stages, *o.preactivations, o.embedding, o.logits] for o in seen)
    assert all(map(torch.equal, ours, expected))
    assert seen[0].preactivations[0].min() < 0
    assert seen[0].preactivations[1] is seen[0].stages[1]


def test_gradients_reach_what_outputs_shows_and_hooks_are_gone_even_after_an_error() -> None:
    network = AdaptedNetwork(Tiny(), ["a", "relu"], "fc")
    outputs = network.outputs(torch.randn(2, 3, 8, 8))
    targets = (*outputs.stages, *outputs.preactivations, outputs.embedding)
    assert len(torch.autograd.grad(outputs.logits.square().sum(), targets)) == 5
    with pytest.raises(RuntimeError):
        network.outputs(torch.randn(1, 2, 8, 8))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())
    assert network.relu.inplace
    assert network.a[2].inplace


def test_a_sum_in_place_after_the_activation_is_no_activation() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.relu = nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            return self.relu(x).add_(x)

    model = nn.Sequential(Block(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    outputs = AdaptedNetwork(model, ["0"], "3").outputs(torch.randn(2, 3, 4, 4))
    assert outputs.preactivations[0] is outputs.stages[0]


def test_a_strided_pointwise_stem_trains_in_channels_last() -> None:
    """As that of RepVGG, MobileOne and FastViT; oneDNN corrupts memory unless it is subsampled."""
    stem = nn.Conv2d(3, 32, 1, stride=2, bias=False)
    model = nn.Sequential(stem, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 5))
    images = torch.randn(4, 3, 32, 32)
    expected = copy.deepcopy(model)(images)
    network = AdaptedNetwork(model, ["1"], "4").to(memory_format=torch.channels_last)
    for _ in range(5):  # what it corrupts is noticed later
        logits = network(images.contiguous(memory_format=torch.channels_last))
        (gradient,) = torch.autograd.grad(logits.sum(), [stem.weight])
    torch.testing.assert_close(logits, expected)
    plain = stem.weight.detach().clone(memory_format=torch.contiguous_format).requires_grad_()
    maps = torch.relu(nn.functional.conv2d(images, plain, stride=2)).mean((2, 3))
    (wanted,) = torch.autograd.grad(model[4](maps).sum(), [plain])
    torch.testing.assert_close(gradient, wanted)


def test_nested_stages_and_inference_mode() -> None:
    model = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(True)), nn.AvgPool2d(4))
    model.append(nn.Flatten()).append(nn.Linear(4, 2))
    with torch.inference_mode():
        outputs = AdaptedNetwork(model, ["0.1", "0"], "3").outputs(torch.randn(2, 3, 4, 4))
    for before, after in zip(outputs.preactivations, outputs.stages, strict=True):
        assert torch.equal(before.relu(), after)
        assert before.min() < 0


def test_parameters_have_the_names_of_the_model_and_are_shared_with_it() -> None:
    model = Tiny()
    network = AdaptedNetwork(model, ["a"], "fc")
    assert list(network.state_dict()) == list(model.state_dict())
    assert [n for n, _ in network.named_parameters()] == [n for n, _ in model.named_parameters()]
    assert [n for n, _ in network.named_modules()] == [n for n, _ in model.named_modules()]
    network.double().eval()
    assert model.fc.weight.dtype == torch.float64
    assert not model.training
    network.fc = nn.Linear(4, 2).double()
    assert network(torch.randn(1, 3, 8, 8).double()).shape == (1, 2)


def test_copies_are_independent_and_meta_networks_can_be_filled() -> None:
    network = AdaptedNetwork(Tiny(), ["a"], "fc").eval()
    images = torch.randn(1, 3, 8, 8)
    with torch.device("meta"):
        empty = AdaptedNetwork(Tiny(), ["a"], "fc").eval()
    empty.to_empty(device="cpu").load_state_dict(network.state_dict())
    duplicate = copy.deepcopy(network)
    with torch.no_grad():
        duplicate.classifier.weight.zero_()
    assert torch.equal(empty(images), network(images))
    assert not torch.equal(duplicate(images), network(images))
    weights = {name: torch.zeros_like(value) for name, value in network.named_parameters()}
    assert not torch.func.functional_call(network, weights, images).any()


@pytest.mark.parametrize(
    ("stages", "classifier", "message"),
    [
        (["a", "c"], "fc", r"network.stages: Tiny has no module 'c'; nearest: fc, relu"),
        (["a"], "fcc", "network.classifier: Tiny has no module 'fcc'; nearest: fc"),
        (["a"], "relu", "'relu' is a ReLU, not a Linear; allowed: fc"),
        ([], "fc", "at least one"),
    ],
)
def test_wrong_paths(stages: list[str], classifier: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        AdaptedNetwork(Tiny(), stages, classifier).outputs(torch.randn(1, 3, 8, 8))


@pytest.mark.parametrize("build", [torchvision_network, timm_network])
def test_factories(build: Callable[..., AdaptedNetwork]) -> None:
    with pytest.raises(UserError, match=r"no 'resnet19'; nearest: .*resnet18"):
        build("resnet19", LAYERS, "fc")
    with torch.device("meta"):
        network = build("resnet18", LAYERS, "fc", num_classes=3, in_channels=1)
    assert network.conv1.weight.shape == (64, 1, 7, 7)
    assert network.fc.weight.shape == (3, 512)


def test_without_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)  # its import raises ModuleNotFoundError
    with pytest.raises(UserError, match=r"pip install 'diswot\[timm\]'"):
        timm_network("resnet18", LAYERS, "fc")


@pytest.mark.parametrize(
    ("build", "model", "stages", "classifier"),
    [
        (torchvision_network, "resnet18", ("relu", *LAYERS), "fc"),
        (
            torchvision_network,
            "mobilenet_v2",
            ("features.1", "features.3", "features.6", "features.13", "features"),
            "classifier.1",
        ),
        (
            timm_network,
            "efficientnet_lite0",
            ("bn1", "blocks.1", "blocks.2", "blocks.4", "bn2"),
            "classifier",
        ),
    ],
)
def test_stages_and_classifier_are_found(
    build: Callable[..., AdaptedNetwork], model: str, stages: tuple[str, ...], classifier: str
) -> None:
    known = {"fc": "layer4"}.get(classifier, "conv_stem" if model[0] == "e" else "features.0")
    plain = build(model, [known], classifier, num_classes=7)._model.eval()
    found = adapted(plain, torch.randn(2, 3, 64, 64))
    assert (found.stage_paths, found.classifier) == (stages, plain.get_submodule(classifier))
    sides = [stage.shape[-1] for stage in found.outputs(torch.randn(2, 3, 64, 64)).stages]
    assert sides == [32, 16, 8, 4, 2]


def test_a_module_that_runs_twice_is_no_stage() -> None:
    assert adapted(Tiny().eval(), torch.randn(2, 3, 8, 8)).stage_paths == ("a", "b")
    named = adapted(Tiny().eval(), torch.randn(2, 3, 8, 8), ["a"])
    assert named.stage_paths == ("a",)


@pytest.mark.parametrize("side", [32, 64])
def test_the_last_stage_has_the_channels_that_the_classifier_reads(side: int) -> None:
    """On images of 32 pixels ResNet's last maps are one pixel."""
    from torchvision.models import resnet18

    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    own = adapted(resnet18(num_classes=4).eval(), images)
    assert [*own.stage_paths][-4:] == ["layer1", "layer2", "layer3", "layer4"]
    assert own.outputs(images).stages[-1].shape[1] == own.classifier.in_features
