"""Parameters, multiply-accumulates and layers against networks that really run."""

import json
import re
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from scoring_helpers import each_space, made, members, space_of
from torch import Tensor, nn

from diswot.commands import compose
from diswot.config import make
from diswot.errors import UserError
from diswot.models.outputs import Cost, count_flops, count_layers, count_params
from diswot.models.transformers import Attention
from diswot.scoring.budget import Budget, CostModel

GOLDEN = Path(__file__).parents[1] / "golden" / "proxies.json"


def macs_that_ran(network: nn.Module, images: Tensor) -> int:
    """Multiply-accumulates of a real forward pass, layer by layer, and of attention."""
    total = 0

    def attend(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        total += 2 * output.numel() * output.shape[1]  # scores, and sums weighted by them

    def note(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        weight = module.get_parameter("weight")
        total += output.numel() * weight[0].numel()

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(note)
        if isinstance(module, Attention):
            module.register_forward_hook(attend)
    with torch.no_grad():
        network.eval()(images)
    return total


def costs_of(name: str, side: int = 32, classes: int = 10, channels: int = 3) -> CostModel:
    return CostModel(space_of(name), num_classes=classes, image=(channels, side, side))


@each_space
@pytest.mark.parametrize(("channels", "side", "classes"), [(3, 32, 10), (1, 24, 100)])
def test_costs_are_those_of_the_network_that_runs(
    name: str, channels: int, side: int, classes: int
) -> None:
    space, costs, rng = space_of(name), costs_of(name, side, classes, channels), Random(side)
    for _ in range(2):
        arch = space.sample(rng)
        network = space.build(arch, num_classes=classes, in_channels=channels)
        cost = costs.cost(arch)
        assert cost.params == sum(weight.numel() for weight in network.parameters())
        assert cost.flops == macs_that_ran(network, torch.zeros(1, channels, side, side))
        assert cost.layers == count_layers(network) > 0
        assert cost == Cost(costs.params(arch), costs.flops(arch), costs.layers(arch))


@each_space
@pytest.mark.parametrize("side", [32, 57])
def test_costs_by_formula_and_sums_are_those_of_the_networks(name: str, side: int) -> None:
    """Where a space has a formula or summands, networks are not built, and it is exact."""
    space, costs, rng = space_of(name), costs_of(name, side, classes=7), Random(5)
    archs = [space.sample(rng) for _ in range(6)]
    formula = space.cost(archs[0], num_classes=7, image=(3, side, side))
    if formula is None and not any(space.summands(arch) for arch in archs):
        assert not getattr(space, "additive", False)
        return
    for arch in [*archs, *space.summands(archs[0])]:
        with torch.device("meta"):
            network = space.build(arch, num_classes=7)
        flops = count_flops(network, (3, side, side))
        assert costs.cost(arch) == Cost(count_params(network), flops, count_layers(network))


@pytest.mark.parametrize("net", ["res_111", "res_333"])
def test_costs_are_the_golden_ones(net: str) -> None:
    golden = json.loads(GOLDEN.read_text())["scores"][net]["static"]
    cost = costs_of("s0").cost(space_of("s0").parse("s0:" + "-".join(net.removeprefix("res_"))))
    assert (cost.params, cost.flops) == (golden["params"], golden["fvcore_conv_linear"])


def test_layers_leave_out_projections() -> None:
    texts = {"s0:1-1-1": 8, "s0:3-5-7": 32, "s1:16/b3x2-24-32/n5x4-16-64/b3x1-64-128": 20}
    for text, layers in texts.items():
        name = text.partition(":")[0]
        assert costs_of(name).layers(space_of(name).parse(text)) == layers


def test_counting_leaves_a_network_as_it_was() -> None:
    arch = space_of("s0").parse("s0:1-1-1")
    network = space_of("s0").build(arch, num_classes=10).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state, expected = torch.get_rng_state(), costs_of("s0").flops(arch)
    assert count_flops(network, (3, 32, 32)) == expected
    assert all(module.training for module in network.modules())
    assert all(torch.equal(before[name], t) for name, t in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert count_flops(network.eval(), (3, 32, 32)) == expected
    assert not network.training


def test_grouped_convolutions_matrix_products_and_frozen_parameters() -> None:
    convolution = nn.Conv2d(4, 8, 3, groups=4, padding=1)
    network = nn.Sequential(convolution, nn.Flatten(), nn.Linear(8 * 36, 5))
    assert count_flops(network, (4, 6, 6)) == 8 * 36 * 9 + 8 * 36 * 5
    convolution.requires_grad_(False)
    assert count_params(network) == 8 * 36 * 5 + 5


LIMITS = ("params", "flops", "layers")


def test_the_default_takes_the_limits_of_the_space() -> None:
    assert members("budget") == ["default", "none"]
    assert made("budget", Budget, "space=s1").limits() == {"params": 1e6}
    assert made("budget", Budget, "space=s0").limits() == {}
    assert made("budget", Budget, "space=s1", "budget=none").limits() == {}
    both = made("budget", Budget, "space=s1", "budget.params=5e5", "budget.flops=1e8")
    assert both.limits() == {"params": 5e5, "flops": 1e8}


TEACHER = {"params": 1000, "flops": 5000, "layers": 8}


@pytest.mark.parametrize(
    ("given", "limits", "shown"),
    [
        ("0.25x", {"params": 250}, "params ≤ 250 (0.25x of the teacher)"),
        ("1.2349x", {"params": 1234.9}, "params ≤ 1,234 (1.2349x of the teacher)"),
        ([None, "1x"], {"params": 1000}, "params ≤ 1,000 (1x of the teacher)"),
        ([700, "0.8x", "1x"], {"params": 700}, "params ≤ 700"),
        ([700, "0.5x"], {"params": 500}, "params ≤ 500 (0.5x of the teacher)"),
        ([None], {}, "no limit"),
    ],
)
def test_limits_are_numbers_and_shares_of_the_teacher(
    given: Any, limits: dict[str, float], shown: str
) -> None:
    budget = Budget(params=given, teacher=TEACHER)
    assert budget.limits() == pytest.approx(limits)
    assert str(budget) == shown


def test_a_share_needs_a_teacher() -> None:
    for given in ("0.25x", "1x", [5, "0.25x"]):
        with pytest.raises(UserError, match=r"budget.flops=\d.*x: there is no teacher"):
            Budget(flops=given)
    assert Budget(flops=[5, "1x"], params=[None, "1x"]).limits() == {"flops": 5}


def test_the_default_is_no_larger_than_the_teacher() -> None:
    words = ["space=s1", "teacher=resnet8", "budget.flops=2e6"]
    config = compose("search", words, None)["budget"]
    assert config["params"] == [1e6, "1x"]
    budget = make(config, "budget", Budget, teacher=TEACHER)
    assert str(budget) == "params ≤ 1,000 (1x of the teacher), flops ≤ 2,000,000"


@pytest.mark.parametrize(
    "value", [-1, 0, "abc", "ax", "0x", "-1x", float("nan"), float("inf"), True, [3, 0], [[3]]]
)
def test_limits_that_no_candidate_keeps_are_refused(value: Any) -> None:
    for setting, allowed in {**dict.fromkeys(LIMITS, "positive"), "max_tries": "whole"}.items():
        shown = value[-1] if isinstance(value, list) and setting in LIMITS else value
        message = f"budget.{setting}={shown} is not allowed; give a {allowed} number"
        with pytest.raises(UserError, match=re.escape(message)):
            Budget(**{setting: value})


def test_the_command_line_is_told_so_too() -> None:
    for override, message in {"budget.params=.nan": "positive", "+budget.latency=3": "lat"}.items():
        with pytest.raises(UserError, match=message):
            made("budget", Budget, override)
