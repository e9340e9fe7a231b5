"""Stems of staged networks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from diswot import _torchvision
from diswot.errors import UserError
from diswot.models.blocks import BasicBlock
from diswot.models.cost import count_flops, count_params
from diswot.models.staged import StagedNetwork


def resnet18(num_classes: int = 1000) -> StagedNetwork:
    stages, channels = [], 64
    for width in (64, 128, 256, 512):
        first = BasicBlock(channels, width, 1 if width == 64 else 2)
        stages.append([first, BasicBlock(width, width)])
        channels = width
    return StagedNetwork(64, stages, num_classes, stem="imagenet")


def test_the_imagenet_stem_makes_resnet18() -> None:
    with torch.device("meta"):
        network = resnet18()
    assert count_params(network) == 11_689_512
    assert count_flops(network, (3, 224, 224)) == 1_814_073_344


def test_it_computes_what_torchvisions_resnet18_does() -> None:
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


@pytest.mark.parametrize(("stem", "side"), [("small", 32), ("imagenet", 8)])
def test_a_stem_keeps_or_quarters_the_side(stem: str, side: int) -> None:
    with torch.device("meta"):
        network = StagedNetwork(8, [[BasicBlock(8, 8)]], stem=stem)
    names = [name for name, _ in network.named_parameters()][:3]
    assert names == ["conv1.weight", "bn1.weight", "bn1.bias"]
    assert network.stem(torch.empty(1, 3, 32, 32, device="meta")).shape == (1, 8, side, side)


def test_the_stem_is_small_unless_said() -> None:
    network = StagedNetwork(8, [[BasicBlock(8, 8)]])
    assert network.conv1.kernel_size == (3, 3)
    assert isinstance(network.pool, nn.Identity)


def test_known_maps_replace_the_imagenet_stem() -> None:
    network = StagedNetwork(8, [[BasicBlock(8, 8)], [BasicBlock(8, 16, 2)]], stem="imagenet").eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        full = network.outputs(images)
        shared = network.outputs(images, known=full.preactivations[:1])
    assert torch.equal(full.logits, shared.logits)


def test_another_stem_is_refused_and_named() -> None:
    with pytest.raises(UserError, match=r"network.stem=large: allowed are small, imagenet"):
        StagedNetwork(8, [[BasicBlock(8, 8)]], stem="large")
