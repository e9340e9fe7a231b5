"""Folded BatchNorm, and the teacher that training sees."""

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from diswot.checkpoint import build_network
from diswot.config import conf_dir, member_node
from diswot.models.outputs import Network
from diswot.training.teacher import FrozenTeacher, fold_batch_norms

TEACHERS = sorted(file.stem for file in (conf_dir() / "teacher").glob("*.yaml"))
DEEP = {"none", "resnet34", "resnet50", "resnet110", "resnet44"}
WITH_ACTIVATIONS = {"efficientnet_lite0"}  # norms that are an activation too: not folded
UNPAIRED = {"wrn_40_2": 25}
"""BatchNorms that do not follow a convolution: those of pre-activation blocks."""


def settled(network: nn.Module, images: Tensor) -> nn.Module:
    """With statistics and affine parameters unlike those a network starts with."""
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
    with torch.no_grad():
        network.train()(images)
    return network.eval()


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize("name", sorted({*TEACHERS} - DEEP))
def test_outputs_are_kept(name: str) -> None:
    spec = member_node("teacher", name, [conf_dir()])
    torch.manual_seed(0)
    images = torch.randn(4, 3, 32, 32)
    network = settled(build_network(spec, "teacher", 10, 3), images)
    assert isinstance(network, Network)
    with torch.no_grad():
        before, count = network.outputs(images), norms(network)
        folded = fold_batch_norms(network, images[:2])
        after = network.outputs(images)
    assert folded == count - norms(network)
    if name in WITH_ACTIVATIONS:
        assert folded == 0
    elif name not in UNPAIRED:
        assert norms(network) == 0
    pairs = [*zip(before.stages, after.stages, strict=True), (before.logits, after.logits)]
    for old, new in [*pairs, (before.embedding, after.embedding)]:
        torch.testing.assert_close(new, old, rtol=1e-3, atol=1e-4 * old.abs().max().item())


def conv() -> nn.Conv2d:
    return nn.Conv2d(3, 3, 3, padding=1)


class Odd(nn.Module):
    """What must be left alone, beside one pair that need not."""

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.first, self.second = conv(), nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.alone, self.twice = conv(), nn.BatchNorm2d(3)
        self.pair = nn.Sequential(conv(), nn.BatchNorm2d(3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(self.shared(x)) + self.second(self.shared(x + 1))
        x = self.twice(self.alone(x)) + self.twice(x)
        return self.pair(x)


class Reused(nn.Sequential):
    """A convolution whose output goes to BatchNorm and past it."""

    def forward(self, x: Tensor) -> Tensor:
        x = self[0](x)
        return self[1](x) + x


OF_THE_BATCH = nn.BatchNorm2d(3, track_running_stats=False)


@pytest.mark.parametrize(
    ("network", "count"),
    [(Odd(), 1), (Reused(conv(), nn.BatchNorm2d(3)), 0), (nn.Sequential(conv(), OF_THE_BATCH), 0)],
    ids=["shared", "read elsewhere", "of the batch"],
)
def test_what_cannot_be_folded_is_left_alone(network: nn.Module, count: int) -> None:
    images = torch.randn(2, 3, 6, 6)
    network, before = settled(network, images), norms(network)
    expected = network(images)
    assert fold_batch_norms(network, images) == before - norms(network) == count
    torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-5)


def test_frozen() -> None:
    spec = OmegaConf.to_container(OmegaConf.load(conf_dir() / "teacher" / "resnet8.yaml"))
    assert isinstance(spec, dict)
    images = torch.randn(4, 3, 16, 16)
    network = build_network(spec, "teacher", 10, 3)
    teacher = FrozenTeacher(network, images[:2])
    assert not isinstance(teacher, nn.Module)
    assert not any(module.training for module in network.modules())
    full, alone = teacher(images.requires_grad_()), teacher(images, logits_only=True)
    assert not any(t.requires_grad for t in (*full.stages, full.embedding, full.logits))
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert torch.equal(full.logits, alone.logits)
    assert alone.stages == alone.preactivations == ()
    assert teacher.weight.shape == (10, 64)
