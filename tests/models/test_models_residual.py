"""Residual blocks, staged networks, CIFAR ResNets and wide ResNets."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional

from diswot import _torchvision
from diswot.errors import UserError
from diswot.models import Network
from diswot.models.layers import make_shortcut
from diswot.models.outputs import count_flops, count_layers, count_params
from diswot.models.resnet import (
    BasicBlock,
    Blocks,
    Bottleneck,
    CifarResNet,
    ResidualBlock,
    StagedNetwork,
    WideResNet,
)

NARROW = (16, 16, 32, 64)
WIDE = (32, 64, 128, 256)


def resnet18(num_classes: int = 1000) -> StagedNetwork:
    shapes = ((64, 1), (128, 2), (256, 2), (512, 2))
    stages = [Blocks(BasicBlock, 2, width, stride) for width, stride in shapes]
    return StagedNetwork(64, stages, num_classes, stem="imagenet")


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
        # The same of models/wrn.py: depth and widening factor.
        (16, 2, 703_284),
        (40, 1, 569_780),
        (40, 2, 2_255_156),
    ],
)
def test_parameters_are_those_of_the_crd_protocol(
    depth: int, widths: tuple[int, ...] | int, params: int
) -> None:
    with torch.device("meta"):
        if isinstance(widths, int):
            network = WideResNet(depth, widths, num_classes=100)
            assert count_layers(network) == depth - 2  # the name counts the three projections too
        else:
            network = CifarResNet([(depth - 2) // 6] * 3, widths, num_classes=100)
    assert count_params(network) == params


def test_the_resnet50_of_the_crd_protocol_has_bottlenecks() -> None:
    widths = (64, 256, 512, 1024, 2048)
    with torch.device("meta"):
        network = CifarResNet([3, 4, 6, 3], widths, num_classes=100, block="bottleneck")
    assert count_params(network) == 23_705_252  # models/resnetv2.py of RepDistiller, summed
    assert [len(stage) for stage in network.stages] == [3, 4, 6, 3]
    with pytest.raises(UserError, match=r"^network\.block=wide.*basic.*bottleneck"):
        CifarResNet([1], [4, 4], block="wide")


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (110, 1.7)])
def test_parameters_with_option_a_are_those_of_he_et_al(depth: int, millions: float) -> None:
    with torch.device("meta"):  # millions: He et al., CVPR 2016, table 6, CIFAR-10
        network = CifarResNet([(depth - 2) // 6] * 3, NARROW, shortcut="A")
    assert count_params(network) / 1e6 == pytest.approx(millions, abs=0.035)


def test_it_computes_what_torchvisions_resnet18_does() -> None:
    with torch.device("meta"):
        network = resnet18()
    assert count_params(network) == 11_689_512
    assert count_flops(network, (3, 224, 224)) == 1_814_073_344
    _torchvision.ensure()
    from torchvision.models import resnet18 as reference

    torch.manual_seed(0)
    theirs, ours = reference(num_classes=7).eval(), resnet18(num_classes=7).eval()
    state = {
        name.replace("downsample.0", "shortcut.conv").replace("downsample.1", "shortcut.bn"): value
        for name, value in theirs.state_dict().items()
    }
    ours.load_state_dict(state)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("network", "widths"),
    [
        (CifarResNet([1, 2, 2], NARROW, "A", num_classes=7, in_channels=1), NARROW[1:]),
        (CifarResNet([1, 2, 2], NARROW, "B", num_classes=7, in_channels=1), NARROW[1:]),
        (WideResNet(16, 1, num_classes=7, in_channels=1), (16, 32, 64)),
        (WideResNet(16, 2, num_classes=7, in_channels=1), (32, 64, 128)),
    ],
    ids=["A", "B", "wide 1", "wide 2"],
)
def test_outputs_are_those_of_the_plain_pass(
    network: nn.Module, widths: tuple[int, ...], training: bool
) -> None:
    images = torch.randn(2, 1, 16, 16)
    network.train(training)
    for buffer in network.buffers():
        buffer.zero_() if buffer.ndim == 0 else buffer.fill_(1)
    with torch.no_grad():
        outputs = network.outputs(images)
        passes = [int(buffer) for buffer in network.buffers() if buffer.ndim == 0]
        logits = network(images)
        classified = network.classifier(outputs.embedding)
    assert set(passes) == {int(training)}, "a BatchNorm did not run once"
    assert isinstance(network, Network)
    assert torch.equal(outputs.logits, logits)
    assert torch.equal(classified, logits)
    shapes = [tuple(stage.shape) for stage in outputs.stages]
    assert shapes == [(2, w, side, side) for w, side in zip(widths, (16, 8, 4), strict=True)]
    for before, after in zip(outputs.preactivations, outputs.stages, strict=True):
        assert before.min() < 0
        assert torch.equal(functional.relu(before), after)
    torch.testing.assert_close(outputs.embedding, outputs.stages[-1].mean((2, 3)))


def test_names_of_parameters() -> None:
    """Scores and trained weights are keyed by them."""
    with torch.device("meta"):
        network = CifarResNet([1, 1], [8, 8, 16])
        bottleneck = StagedNetwork(4, [Blocks(Bottleneck, 1, 4, 1)])
    block = ["conv1.weight", "bn1.weight", "bn1.bias", "conv2.weight", "bn2.weight", "bn2.bias"]
    shortcut = ["shortcut.conv.weight", "shortcut.bn.weight", "shortcut.bn.bias"]
    stem, fc = ["conv1.weight", "bn1.weight", "bn1.bias"], ["fc.weight", "fc.bias"]
    inside = [f"layer1.0.{name}" for name in block]
    names = [*stem, *inside, *(f"layer2.0.{name}" for name in (*shortcut, *block)), *fc]
    assert [name for name, _ in network.named_parameters()] == names
    third = [f"layer1.0.{name}.{kind}" for name, kind in (("conv3", "weight"), ("bn3", "weight"))]
    expected = [*stem, *inside, *third, "layer1.0.bn3.bias", *fc]
    assert [name for name, _ in bottleneck.named_parameters()] == expected


def test_padded_shortcut_subsamples_and_pads_on_both_sides() -> None:
    x = torch.randn(2, 4, 4, 4)
    padded = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))
    assert torch.equal(make_shortcut(4, 8, 2, "A")(x), padded)


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize(("out_channels", "stride"), [(8, 1), (16, 1), (16, 2)])
def test_blocks(block: type[ResidualBlock], kernel: int, out_channels: int, stride: int) -> None:
    module = block(8, out_channels, stride, kernel=kernel, mid_channels=4)
    y = module.eval()(x := torch.randn(2, 8, 8, 8))
    assert y.shape == (2, out_channels, 8 // stride, 8 // stride)
    assert torch.equal(y, module.preactivation(x).relu())
    inner = module.bn1(module.conv1(x)).relu()
    inner = module.bn2(module.conv2(inner))
    if block is Bottleneck:
        inner = module.bn3(module.conv3(inner.relu()))
    assert torch.equal(y, (inner + module.shortcut(x)).relu())
    sizes = [kernel, kernel] if block is BasicBlock else [1, kernel, 1]
    convs = [module.get_submodule(f"conv{n}") for n in range(1, len(sizes) + 1)]
    assert [(conv.kernel_size[0], conv.bias) for conv in convs] == [(k, None) for k in sizes]


def test_every_relu_is_a_module_of_its_own_and_not_in_place() -> None:
    network = StagedNetwork(8, [Blocks(Bottleneck, 2, 16, 1), Blocks(BasicBlock, 1, 8, 2)])
    ran: list[nn.Module] = []
    relus = [module for module in network.modules() if isinstance(module, nn.ReLU)]
    for module in relus:
        module.register_forward_hook(lambda module, args, output: ran.append(module))
    outputs = network.outputs(torch.randn(1, 3, 8, 8))
    assert len(ran) == len(set(ran)) == len(relus) == 1 + 3 + 3 + 2
    assert not any(module.inplace for module in relus)
    targets = (*outputs.stages, *outputs.preactivations)
    assert all(grad.any() for grad in torch.autograd.grad(outputs.logits.sum(), targets))


@pytest.mark.parametrize(("stem", "side"), [("small", 32), ("imagenet", 8)])
@pytest.mark.parametrize("count", range(4))
def test_stems_and_known_maps_that_replace_the_first_blocks(
    stem: str, side: int, count: int
) -> None:
    stages = [Blocks(BasicBlock, 2, 8, 1), Blocks(BasicBlock, 1, 16, 2)]
    network, images = StagedNetwork(8, stages, stem=stem).eval(), torch.randn(2, 3, 32, 32)
    blocks: list[torch.Tensor] = []
    with torch.no_grad():
        full = network.outputs(images, blocks)
        known = blocks[:count]
        shared = network.outputs(images if not count else torch.empty(0), known)
    assert len(blocks) == len(known) == 3
    assert full.stages[0].shape == (2, 8, side, side)
    for kind in ("stages", "preactivations"):
        assert all(map(torch.equal, getattr(full, kind), getattr(shared, kind)))
    assert torch.equal(full.logits, shared.logits)


def test_first_stage_of_a_wide_network_by_hand() -> None:
    """A block that changes the width projects the activated input, one that does not adds x."""
    network = WideResNet(10, 1).eval()
    images = torch.randn(2, 3, 8, 8)
    first, second = network.layer1[0], network.layer2[0]
    with torch.no_grad():
        x = network.conv1(images)
        inner = functional.relu(first.bn2(first.conv1(functional.relu(first.bn1(x)))))
        group = x + first.conv2(inner)
        before = second.bn1(group)
        active = functional.relu(before)
        inner = functional.relu(second.bn2(second.conv1(active)))
        after = second.shortcut(active) + second.conv2(inner)
        outputs = network.outputs(images)
    torch.testing.assert_close(outputs.preactivations[0], before)
    torch.testing.assert_close(outputs.preactivations[1], network.layer3[0].bn1(after))
    assert first.shortcut is None


@pytest.mark.parametrize(
    ("build", "settings", "message"),
    [
        (CifarResNet, ([1, 0, 1], NARROW), "network.depths"),
        (CifarResNet, ([], NARROW), "network.depths"),
        (CifarResNet, ([1, 1, 1], NARROW[1:]), "network.widths"),
        (CifarResNet, ([1, 1, 1], NARROW, "C"), "allowed are A, B"),
        (CifarResNet, ([1, 1, 1], (16, 16, 32, 8), "A"), "use B"),
        (WideResNet, (20, 2), "network.depth=20 is not allowed; give 6n"),
        (WideResNet, (16.5, 2), "network.depth=16.5"),
        (WideResNet, (16, 0), "network.width=0"),
        (
            partial(StagedNetwork, stem="large"),
            (8, []),
            "network.stem=large: allowed are small, imagenet",
        ),
    ],
)
def test_wrong_settings(
    build: Callable[..., nn.Module], settings: tuple[object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        build(*settings)
