"""Spaces from the files of ``conf/space``, with settings changed."""

from random import Random
from typing import TypeVar

import torch
from torch import Tensor, nn

from diswot.config import conf_dir, make, member_node
from diswot.spaces import Arch, Space

S = TypeVar("S", bound=Space)

MEMBERS = sorted(path.stem for path in (conf_dir() / "space").glob("*.yaml"))


def make_space(name: str, kind: type[S] = Space, **settings: object) -> S:  # type: ignore[assignment]
    """A member of ``conf/space``."""
    return make({**member_node("space", name, [conf_dir()]), **settings}, "space", kind)


def draws(space: Space, count: int = 40, seed: int = 0) -> list[Arch]:
    """Random architectures."""
    rng = Random(seed)
    return [space.sample(rng) for _ in range(count)]


def on_meta(
    space: Space, arch: Arch | str, num_classes: int = 10, in_channels: int = 3
) -> nn.Module:
    """The network of an architecture, without memory."""
    arch = space.parse(arch) if isinstance(arch, str) else arch
    with torch.device("meta"):
        return space.build(arch, num_classes=num_classes, in_channels=in_channels)


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
