"""The small networks of CRD's benchmark that are no ResNets."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diswot.errors import UserError
from diswot.models import Network
from diswot.models.mobilenet import InvertedResidual, MobileNetV2
from diswot.models.outputs import count_layers, count_params
from diswot.models.sequential import SequentialNetwork
from diswot.models.shufflenet import GroupedUnit, ShuffleNetV1, ShuffleNetV2, SplitUnit
from diswot.models.vgg import VGG

WIDE = [64, 128, 256, 512, 512]
Build = Callable[..., SequentialNetwork]
NETWORKS: dict[str, tuple[Build, int, list[tuple[int, int]]]] = {
    "vgg8": (partial(VGG, [1] * 5, WIDE), 3_965_028, [(128, 16), (256, 8), (512, 4), (512, 4)]),
    "vgg13": (partial(VGG, [2] * 5, WIDE), 9_462_180, [(128, 16), (256, 8), (512, 4), (512, 4)]),
    "mobilenetv2": (partial(MobileNetV2, 0.5, 6), 812_836, [(12, 16), (16, 8), (48, 4), (1280, 2)]),
    "shufflenetv1": (
        partial(ShuffleNetV1, [4, 8, 4], [240, 480, 960], 3),
        949_258,
        [(240, 16), (480, 8), (960, 4)],
    ),
    "shufflenetv2": (
        partial(ShuffleNetV2, [4, 8, 4], [116, 232, 464, 1024]),
        1_355_528,
        [(116, 16), (232, 8), (1024, 4)],
    ),
}
"""How each is built, its parameters with 100 classes, channels and size of the maps of 32 pixels.

The parameters are the layers of HobbitLong/RepDistiller, summed.
"""
each_network = pytest.mark.parametrize("name", NETWORKS)


@each_network
def test_parameters_and_maps_are_those_of_the_crd_protocol(name: str) -> None:
    build, params, maps = NETWORKS[name]
    with torch.device("meta"):
        network = build(num_classes=100)
        outputs = network.outputs(torch.empty(2, 3, 32, 32))
    assert count_params(network) == params
    assert [tuple(stage.shape) for stage in outputs.stages] == [(2, w, s, s) for w, s in maps]
    if name.startswith("vgg"):
        assert count_layers(network) == 6 * 1 + (5 if name == "vgg13" else 0)


@each_network
@pytest.mark.parametrize("training", [True, False])
def test_outputs_are_those_of_the_plain_pass(name: str, training: bool) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name][0](num_classes=7, in_channels=1).train(training)
    images = torch.randn(2, 1, 28, 28)
    with torch.no_grad():
        outputs, logits = network.outputs(images), network(images)
    assert isinstance(network, Network)
    assert torch.equal(outputs.logits, logits)
    assert torch.equal(network.classifier(outputs.embedding), logits)
    torch.testing.assert_close(outputs.embedding, outputs.stages[-1].mean((2, 3)))
    pairs = list(zip(outputs.preactivations, outputs.stages, strict=True))
    linear = name in ("mobilenetv2", "shufflenetv2")
    for before, after in pairs[:-1] if linear else []:
        assert before is after
    for before, after in pairs[-1:] if linear else pairs:
        assert before.min() < 0
        assert torch.equal(before.relu(), after)


def norm(x: Tensor, module: nn.Module) -> Tensor:
    assert isinstance(module, nn.BatchNorm2d)
    return F.batch_norm(x, None, None, module.weight, module.bias, training=True)


def shuffled(x: Tensor, groups: int) -> Tensor:
    """Channel i of group g goes to place i · groups + g."""
    channels = torch.arange(x.shape[1]).view(groups, -1).T.flatten()
    return x[:, channels]


def test_a_grouped_unit_by_hand() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 36, 6, 6)
    for stride, out, added in ((1, 36, 36), (2, 72, 36)):
        unit = GroupedUnit(36, out, stride, 3)
        conv1, bn1, _, _, conv2, bn2, _, conv3, bn3 = unit.branch
        y = norm(F.conv2d(x, conv1.weight, groups=3), bn1).relu()
        y = F.conv2d(shuffled(y, 3), conv2.weight, stride=stride, padding=1, groups=added // 4)
        y = norm(F.conv2d(norm(y, bn2).relu(), conv3.weight, groups=3), bn3)
        expected = y + x if stride == 1 else torch.cat([y, F.avg_pool2d(x, 3, 2, 1)], 1)
        torch.testing.assert_close(unit(x), expected)


def test_a_split_unit_by_hand() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 8, 6, 6)
    for stride, half in ((1, 4), (2, 6)):
        unit = SplitUnit(8, 2 * half, stride)
        conv1, bn1, _, conv2, bn2, conv3, bn3, _ = unit.branch
        y = norm(F.conv2d(x if stride == 2 else x[:, 4:], conv1.weight), bn1).relu()
        y = norm(F.conv2d(y, conv2.weight, stride=stride, padding=1, groups=half), bn2)
        y = norm(F.conv2d(y, conv3.weight), bn3).relu()
        kept = x[:, :4]
        if stride == 2:
            conv4, bn4, conv5, bn5, _ = unit.other
            kept = norm(F.conv2d(x, conv4.weight, stride=2, padding=1, groups=8), bn4)
            kept = norm(F.conv2d(kept, conv5.weight), bn5).relu()
        torch.testing.assert_close(unit(x), shuffled(torch.cat([kept, y], 1), 2))


def test_an_inverted_residual_by_hand() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 4, 6, 6)
    for stride, out in ((1, 4), (1, 5), (2, 4)):
        block = InvertedResidual(4, out, stride, 2)
        conv1, bn1, _, conv2, bn2, _, conv3, bn3 = block
        y = norm(F.conv2d(x, conv1.weight), bn1).relu()
        y = norm(F.conv2d(y, conv2.weight, stride=stride, padding=1, groups=8), bn2).relu()
        y = norm(F.conv2d(y, conv3.weight), bn3)
        torch.testing.assert_close(block(x), y + x if (stride, out) == (1, 4) else y)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (partial(VGG, [1, 1], [8]), "network.depths: .*two or more"),
        (partial(VGG, [1, 0], [8, 8]), "network.depths: .*>= 1"),
        (partial(MobileNetV2, 0, 6), "network.width=0"),
        (partial(MobileNetV2, 1, 0), "network.expansion=0"),
        (partial(ShuffleNetV1, [1], [240, 480], 3), "network.depths: "),
        (partial(ShuffleNetV1, [1], [244], 3), "network.widths: 244 is no multiple of 12"),
        (partial(ShuffleNetV2, [1], [33, 64]), "network.widths: 33 is no multiple of 2"),
        (partial(ShuffleNetV2, [1, 1], [48, 32, 64]), "network.widths: .*must grow"),
    ],
)
def test_wrong_settings(build: Build, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build()
