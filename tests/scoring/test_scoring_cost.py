"""Parameters, multiply-accumulates and layers against networks that really run."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import pytest
import torch
from torch import Tensor, nn

from diswot.commands import compose
from diswot.config import make
from diswot.models.cost import Cost, count_flops, count_layers, count_params
from diswot.scoring.budget import CostModel
from diswot.spaces import Arch, Space

GOLDEN = Path(__file__).parents[1] / "golden" / "proxies.json"


def macs_that_ran(network: nn.Module, images: Tensor) -> int:
    """Multiply-accumulates of a real forward pass, layer by layer."""
    total = 0

    def note(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            height, width = module.kernel_size
            each = module.in_channels // module.groups * height * width
        else:
            assert isinstance(module, nn.Linear)
            each = module.in_features
        total += output.numel() * each

    handles = [
        module.register_forward_hook(note)
        for module in network.modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    with torch.no_grad():
        network.eval()(images)
    for handle in handles:
        handle.remove()
    return total


@pytest.mark.parametrize(("channels", "side", "classes"), [(3, 32, 10), (1, 24, 100)])
def test_costs_are_those_of_the_network_that_runs(
    space: Space, channels: int, side: int, classes: int
) -> None:
    costs = CostModel(space, num_classes=classes, image=(channels, side, side))
    rng = Random(side)
    for _ in range(2):
        arch = space.sample(rng)
        network = space.build(arch, num_classes=classes, in_channels=channels)
        cost = costs.cost(arch)
        assert cost.params == sum(weight.numel() for weight in network.parameters())
        assert cost.flops == macs_that_ran(network, torch.zeros(1, channels, side, side))
        assert cost.layers == count_layers(network) > 0
        for name, measure in costs.measures().items():
            assert measure(arch) == getattr(cost, name)


def s0() -> Space:
    return make(compose("search", ["space=s0"], None)["space"], "space", Space)


@pytest.mark.parametrize("net", ["res_111", "res_333"])
def test_costs_are_the_golden_ones(net: str) -> None:
    told = json.loads(GOLDEN.read_text())["scores"][net]["static"]
    space = s0()
    costs = CostModel(space, num_classes=10, image=(3, 32, 32))
    arch = space.parse("s0:" + "-".join(net.removeprefix("res_")))
    assert costs.params(arch) == told["params"]
    assert costs.flops(arch) == told["fvcore_conv_linear"]


def test_layers_leave_out_projections() -> None:
    space = s0()
    costs = CostModel(space, num_classes=10, image=(3, 32, 32))
    for depths in ([1, 1, 1], [3, 5, 7]):
        arch = space.parse("s0:" + "-".join(map(str, depths)))
        assert costs.layers(arch) == 2 * sum(depths) + 2
    s1 = make(compose("search", ["space=s1"], None)["space"], "space", Space)
    arch = s1.parse("s1:16/b3x2-24-32/n5x4-16-64/b3x1-64-128")
    assert CostModel(s1, num_classes=10, image=(3, 32, 32)).layers(arch) == 1 + 4 + 12 + 2 + 1


class Counting:
    """Counts the builds of a space."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.builds: list[Arch] = []

    def build(self, arch: Arch, *, num_classes: int, in_channels: int) -> nn.Module:
        self.builds.append(arch)
        return self.space.build(arch, num_classes=num_classes, in_channels=in_channels)

    def summands(self, arch: Arch) -> Sequence[Arch]:
        return self.space.summands(arch)


def test_costs_are_counted_once() -> None:
    counting = Counting(s0())
    costs = CostModel(counting, num_classes=10, image=(3, 32, 32))  # type: ignore[arg-type]
    first, other = (counting.space.parse(text) for text in ("s0:1-1-1", "s0:1-1-3"))
    costs.params(first)
    costs.layers(first)
    assert counting.builds == [first]
    whole = costs.cost(first)
    assert counting.builds == [first, first]  # now it ran, too
    assert costs.cost(counting.space.parse(str(first))) == whole
    assert costs.flops(first) == whole.flops
    assert counting.builds == [first, first]
    assert costs.cost(other) != whole
    assert counting.builds == [first, first, other]
    assert all(measure(other) > 0 for measure in costs.measures().values())
    assert counting.builds[3:] == []


def test_flops_are_in_proportion_to_pixels() -> None:
    space = s0()
    arch = space.parse("s0:1-1-1")
    classifier = 64 * 10
    small, large = (
        CostModel(space, num_classes=10, image=(3, side, side)).flops(arch) for side in (16, 32)
    )
    assert large - classifier == 4 * (small - classifier)


def test_frozen_parameters_do_not_count() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3))
    network[0].requires_grad_(False)
    assert count_params(network) == 4 * 4 * 9 + 4


def test_counting_leaves_a_network_as_it_was(small_archs: Callable[..., list[Arch]]) -> None:
    space = s0()
    [arch] = small_archs(space, 1)
    network = space.build(arch, num_classes=10).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    random = torch.get_rng_state()
    expected = CostModel(space, num_classes=10, image=(3, 32, 32)).flops(arch)
    assert count_flops(network, (3, 32, 32)) == expected
    assert network.training
    assert all(module.training for module in network.modules())
    assert all(torch.equal(before[name], t) for name, t in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert count_flops(network.eval(), (3, 32, 32)) == expected
    assert not network.training


def test_grouped_convolutions_and_matrix_products() -> None:
    network = nn.Sequential(
        nn.Conv2d(4, 8, 3, groups=4, padding=1), nn.Flatten(), nn.Linear(8 * 36, 5)
    )
    assert count_flops(network, (4, 6, 6)) == 8 * 36 * 9 + 8 * 36 * 5
    assert Cost(1, 2, 3) == Cost(params=1, flops=2, layers=3)


def test_costs_that_add_up_are_those_of_the_networks(space: Space) -> None:
    """Where a space names summands, its networks are not built to be counted, and it is exact."""
    rng = Random(5)
    archs = [space.sample(rng) for _ in range(12)]
    if not any(space.summands(arch) for arch in archs):
        assert not getattr(space, "additive", False)
        return
    summed = CostModel(space, num_classes=7, image=(3, 32, 32))
    base, *alone = space.summands(archs[0])
    for arch in [*archs, base, *alone]:
        with torch.device("meta"):
            network = space.build(arch, num_classes=7)
        counted = count_params(network), count_flops(network, (3, 32, 32)), count_layers(network)
        cost = summed.cost(arch)
        assert (cost.params, cost.flops, cost.layers) == counted
