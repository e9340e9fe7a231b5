"""CIFAR ResNets, their blocks and the staged skeleton."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from diswot.errors import UserError
from diswot.models import Network
from diswot.models.blocks import BasicBlock, Bottleneck, ResidualBlock, make_shortcut
from diswot.models.resnet import CifarResNet
from diswot.models.staged import StagedNetwork

NARROW = (16, 16, 32, 64)
WIDE = (32, 64, 128, 256)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("depth", "widths", "params"),
    [
        # Printed integers for CIFAR-100 in osmr/imgclsmob, chainer_/README.md, commit c1a844d.
        (20, NARROW, 278_324),
        (56, NARROW, 861_620),
        (110, NARROW, 1_736_564),
        # No published integers: the layers of HobbitLong/RepDistiller models/resnet.py, summed.
        (8, WIDE, 1_233_540),
        (32, WIDE, 7_433_860),
    ],
)
def test_parameters_are_those_of_the_crd_protocol(
    depth: int, widths: tuple[int, ...], params: int
) -> None:
    with torch.device("meta"):
        network = CifarResNet([(depth - 2) // 6] * 3, widths, num_classes=100)
    assert count(network) == params


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (110, 1.7)])
def test_parameters_with_option_a_are_those_of_he_et_al(depth: int, millions: float) -> None:
    with torch.device("meta"):  # millions: He et al., CVPR 2016, table 6, CIFAR-10
        network = CifarResNet([(depth - 2) // 6] * 3, NARROW, shortcut="A")
    assert count(network) / 1e6 == pytest.approx(millions, abs=0.035)


@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_outputs_are_what_forward_computes(shortcut: str) -> None:
    torch.manual_seed(0)
    network = CifarResNet([1, 2, 2], NARROW, shortcut, num_classes=7, in_channels=1).eval()
    images = torch.randn(2, 1, 32, 32)
    outputs = network.outputs(images)
    assert isinstance(network, Network)
    assert [tuple(stage.shape) for stage in outputs.stages] == [
        (2, 16, 32, 32),
        (2, 32, 16, 16),
        (2, 64, 8, 8),
    ]
    for before, after in zip(outputs.preactivations, outputs.stages, strict=True):
        assert before.min() < 0
        assert torch.equal(functional.relu(before), after)
    torch.testing.assert_close(outputs.embedding, outputs.stages[-1].mean((2, 3)))
    assert torch.equal(outputs.logits, network(images))
    assert outputs.logits.shape == (2, 7)
    assert network.classifier is network.fc


def test_gradients_reach_what_outputs_shows() -> None:
    network = CifarResNet([1, 1, 1], NARROW)
    outputs = network.outputs(torch.randn(2, 3, 16, 16))
    targets = (*outputs.stages, *outputs.preactivations)
    assert all(grad.any() for grad in torch.autograd.grad(outputs.logits.sum(), targets))


def test_names_of_parameters() -> None:
    with torch.device("meta"):
        names = set(CifarResNet([1, 1, 1], NARROW).state_dict())
    assert {
        "conv1.weight",
        "bn1.running_var",
        "layer1.0.conv1.weight",
        "layer2.0.shortcut.conv.weight",
        "layer2.0.shortcut.bn.bias",
        "fc.bias",
    } <= names
    assert not any(name.startswith("layer1.0.shortcut") for name in names)


def test_padded_shortcut_subsamples_and_pads_on_both_sides() -> None:
    x = torch.arange(2 * 4 * 4 * 4.0).reshape(2, 4, 4, 4)
    y = make_shortcut(4, 8, 2, "A")(x)
    assert torch.equal(y[:, 2:6], x[:, :, ::2, ::2])
    assert not y[:, :2].any()
    assert not y[:, 6:].any()


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize(("out_channels", "stride"), [(8, 1), (16, 1), (16, 2)])
def test_blocks(block: type[ResidualBlock], kernel: int, out_channels: int, stride: int) -> None:
    module = block(8, out_channels, stride, kernel=kernel, mid_channels=4)
    x = torch.randn(2, 8, 8, 8)
    y = module.eval()(x)
    assert y.shape == (2, out_channels, 8 // stride, 8 // stride)
    assert torch.equal(y, module.preactivation(x).relu())
    assert all(conv.bias is None for conv in module.modules() if isinstance(conv, nn.Conv2d))


def test_every_relu_is_a_module_of_its_own_and_not_in_place() -> None:
    network = StagedNetwork(8, [[Bottleneck(8, 16), Bottleneck(16, 16)], [BasicBlock(16, 8, 2)]])
    relus: list[nn.Module] = []

    def note(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        relus.append(module)

    for module in network.modules():
        if isinstance(module, nn.ReLU):
            assert not module.inplace
            module.register_forward_hook(note)
    network.outputs(torch.randn(1, 3, 8, 8))
    assert len(relus) == len(set(relus)) == 1 + 3 + 3 + 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"depths": [1, 0, 1]}, "network.depths"),
        ({"depths": []}, "network.depths"),
        ({"widths": [16, 16, 32]}, "network.widths"),
        ({"shortcut": "C"}, "allowed are A and B"),
        ({"shortcut": "A", "widths": [16, 16, 32, 8]}, "use B"),
    ],
)
def test_wrong_settings(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        CifarResNet(**{"depths": [1, 1, 1], "widths": NARROW, **settings})  # type: ignore[arg-type]
