"""Spaces from the files of ``conf/space``, with settings changed."""

from random import Random
from typing import TypeVar

import torch
from torch import Tensor, nn

from diswot.config import conf_dir, make, member_node
from diswot.spaces import Arch, Space

SMALLER = {"timm": {"models": ["test_resnet", "test_efficientnet*", "test_vit", "test_vit[23]"]}}
"""Settings of members whose networks take long to build."""

S = TypeVar("S", bound=Space)

MEMBERS = sorted(path.stem for path in (conf_dir() / "space").glob("*.yaml"))


def make_space(name: str, kind: type[S] = Space, **settings: object) -> S:  # type: ignore[assignment]
    """A member of ``conf/space``."""
    node = {**member_node("space", name, [conf_dir()]), **SMALLER.get(name, {}), **settings}
    return make(node, "space", kind)


def draws(space: Space, count: int = 40, seed: int = 0) -> list[Arch]:
    """Random architectures."""
    rng = Random(seed)
    return [space.sample(rng) for _ in range(count)]


def on_meta(
    space: Space,
    arch: Arch | str,
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: int | None = None,
) -> nn.Module:
    """The network of an architecture, without memory."""
    arch = space.parse(arch) if isinstance(arch, str) else arch
    with torch.device("meta"):
        return space.built_for(arch, num_classes, in_channels, image_size)


def layers(network: nn.Module) -> list[tuple[int, ...]]:
    """(in, out, kernel, stride, padding) of the convolutions, in the order in which they run."""
    ran: list[tuple[int, ...]] = []

    def note(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        assert module.bias is None
        assert module.groups == 1
        sizes = (module.kernel_size[0], module.stride[0], module.padding[0])
        ran.append((module.in_channels, module.out_channels, *map(int, sizes)))

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(note)
    network(torch.empty(1, 3, 32, 32, device="meta"))
    return ran
