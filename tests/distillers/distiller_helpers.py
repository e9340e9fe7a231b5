"""Distillers as their YAML makes them, small pairs of networks, and what a training step shows."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from diswot.commands import compose
from diswot.config import conf_dir, make
from diswot.distillers import Distiller, Step
from diswot.models.outputs import NetworkOutputs
from diswot.models.resnet import CifarResNet

NAMES = sorted(file.stem for file in (conf_dir() / "distiller").glob("*.yaml"))
MEMBERS = [name for name in NAMES if name != "none"]
CLASSES = 5


@cache
def composed(chosen: str, *overrides: str) -> dict[str, dict[str, object]]:
    """What choosing distillers puts into a config."""
    return compose("train", [f"distiller={chosen}", *overrides], None)["distiller"]


def built(name: str, **settings: object) -> Distiller:
    """A distiller as its YAML describes it, but for some settings."""
    node = dict(composed(name)[name])
    assert not set(settings) - set(node), "a setting that is not in the YAML"
    return make({**node, **settings}, f"distiller.{name}", Distiller)


@dataclass
class Pair:
    """Two networks and one batch, which the student may see in another size.

    Distillers are attached to copies of the student's classifier, the last of them ``head``.
    """

    teacher: CifarResNet
    student: CifarResNet
    images: Tensor
    seen: Tensor
    labels: Tensor
    head: nn.Module | None = None

    def outputs(self) -> tuple[NetworkOutputs, NetworkOutputs]:
        """The teacher's, without a graph, and the student's."""
        with torch.no_grad():
            teacher = self.teacher.outputs(self.images)
        return teacher, self.student.outputs(self.seen)

    def step(self, epoch: int = 0) -> Step:
        weights = self.teacher.fc.weight.detach(), self.student.fc.weight
        return Step(self.labels, epoch, *weights, indices=torch.arange(len(self.labels)))

    def connected(self, name: str, **settings: object) -> Distiller:
        distiller = built(name, **settings)
        torch.manual_seed(7)
        distiller.connect(*self.outputs())
        self.head = copy.deepcopy(self.student.fc)
        distiller.attach(self.teacher.fc, self.head, self.labels)
        return distiller

    def loss(self, distiller: Distiller, epoch: int = 0) -> Tensor:
        return distiller(*self.outputs(), self.step(epoch))


def network(seed: int, depths: Sequence[int], widths: Sequence[int], classes: int) -> CifarResNet:
    torch.manual_seed(seed)
    return CifarResNet(depths, widths, num_classes=classes)


def pair(kind: str, classes: int = CLASSES) -> Pair:
    """Networks that differ in depth, in width and size, or in the number of stages."""
    teacher = network(0, [2, 2, 2], [8, 8, 16, 16], classes)
    if kind == "stages":
        teacher = network(0, [1, 1, 1, 1], [8, 8, 16, 16, 24], classes)
    student = network(1, [1, 1, 1], [8, 12, 12, 20] if kind == "width" else [8, 8, 16, 16], classes)
    draw = torch.Generator().manual_seed(3)
    images = torch.randn(6, 3, 16, 16, generator=draw)
    labels = torch.arange(6) % classes
    seen = torch.nn.functional.interpolate(images, size=24) if kind == "width" else images
    return Pair(teacher, student, images, seen, labels)
