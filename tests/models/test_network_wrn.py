"""Wide ResNets: CRD's sizes, and what one forward pass shows."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from diswot.errors import UserError
from diswot.models.cost import count_layers, count_params
from diswot.models.wrn import WideResNet


@pytest.mark.parametrize(
    ("depth", "width", "params"), [(16, 2, 703_284), (40, 1, 569_780), (40, 2, 2_255_156)]
)
def test_parameters_of_crds_networks(depth: int, width: int, params: int) -> None:
    with torch.device("meta"):
        network = WideResNet(depth, width, num_classes=100)
    assert count_params(network) == params
    assert count_layers(network) == depth - 2  # the name counts the three projections too


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("training", [True, False])
def test_outputs_are_those_of_the_plain_pass(width: int, training: bool) -> None:
    network = WideResNet(16, width, num_classes=5, in_channels=1).train(training)
    images = torch.randn(3, 1, 16, 16)
    with torch.no_grad():
        outputs = network.outputs(images)
        statistics = [buffer.clone() for buffer in network.buffers()]
        logits = network(images)
    assert torch.equal(outputs.logits, logits)
    assert [tuple(stage.shape) for stage in outputs.stages] == [
        (3, 16 * width, 16, 16),
        (3, 32 * width, 8, 8),
        (3, 64 * width, 4, 4),
    ]
    if training:  # each BatchNorm ran once in outputs, and once more in the plain pass
        assert all(value == 1 for value in statistics if value.ndim == 0)


def test_first_stage_by_hand() -> None:
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
    ("depth", "width", "message"),
    [
        (20, 2, "network.depth=20 is not allowed; give 6n"),
        (4, 2, "network.depth=4"),
        (16.5, 2, "network.depth=16.5"),
        (16, 0, "network.width=0"),
        (16, "2", "network.width=2"),
    ],
)
def test_sizes_that_do_not_exist(depth: int, width: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        WideResNet(depth, width)
