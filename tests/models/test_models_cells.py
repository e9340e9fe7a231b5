"""Cells and the network that stacks them."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from diswot.errors import UserError
from diswot.models import Network
from diswot.models.cells import Cell, CellNetwork, DownBlock, ReluConvBn, edges
from diswot.models.outputs import count_layers, count_params

ALL = ("nor_conv_3x3", "nor_conv_1x1", "skip_connect", "avg_pool_3x3", "none", "nor_conv_3x3")
NONE = ("none",) * 6


def random_map(width: int = 4, side: int = 6) -> Tensor:
    return torch.randn(2, width, side, side, generator=torch.Generator().manual_seed(0))


def pooled(x: Tensor) -> Tensor:
    """3 x 3 means over the pixels that exist."""
    ones = torch.ones_like(x)
    total = functional.avg_pool2d(x, 3, 1, 1, divisor_override=1)
    return total / functional.avg_pool2d(ones, 3, 1, 1, divisor_override=1)


def test_a_cell_is_the_sum_over_its_edges() -> None:
    assert list(edges()) == [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]
    cell, x = Cell(ALL, 4).eval(), random_map()
    with torch.no_grad():
        second = cell.edge_0_2(x) + cell.edge_0_1(x)
        torch.testing.assert_close(cell(x), pooled(x) + cell.edge_2_3(second))
    convs = {name: m.conv.kernel_size for name, m in cell.named_children() if hasattr(m, "conv")}
    assert convs == {"edge_0_1": (3, 3), "edge_0_2": (1, 1), "edge_2_3": (3, 3)}
    assert not hasattr(cell, "edge_1_3")


def test_an_operation_is_relu_then_convolution_then_batchnorm() -> None:
    unit, x = ReluConvBn(4, 8, 3, stride=2), random_map()
    convolved = functional.conv2d(x.relu(), unit.conv.weight, None, 2, 1)
    expected = functional.batch_norm(convolved, None, None, training=True)
    torch.testing.assert_close(unit(x), expected)
    assert unit.conv.bias is None
    assert not unit.relu.inplace


def test_a_down_block_pools_then_projects_on_its_shortcut() -> None:
    block, x = DownBlock(4, 8).eval(), random_map(side=8)
    with torch.no_grad():
        projected = functional.conv2d(functional.avg_pool2d(x, 2), block.shortcut[1].weight)
        torch.testing.assert_close(block(x), block.conv_b(block.conv_a(x)) + projected)
    assert block(random_map(side=7)).shape == (2, 8, 4, 4)
    assert count_params(block) == 9 * 4 * 8 + 9 * 8 * 8 + 4 * 8 + 2 * 8 * 2


def test_a_cell_that_gets_nothing_gives_zeros() -> None:
    for operations in (NONE, ("nor_conv_3x3", "none", "none", "none", "none", "avg_pool_3x3")):
        x = random_map()
        assert torch.equal(Cell(operations, 4)(x), torch.zeros_like(x))
    network = CellNetwork(NONE, (4, 8), cells=1)
    network(torch.randn(2, 3, 8, 8)).logsumexp(1).sum().backward()
    assert network.fc.bias.grad is not None
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


def test_operations_that_do_not_reach_the_output_run() -> None:
    cell = Cell(("nor_conv_3x3", "none", "nor_conv_1x1", "skip_connect", "none", "none"), 4)
    ran = []
    for name, module in cell.named_children():
        module.register_forward_hook(lambda *_, name=name: ran.append(name))
    x = random_map()
    assert torch.equal(cell(x), x)
    assert ran == ["edge_0_1", "edge_1_2", "edge_0_3"]


def test_the_skeleton_is_the_published_one() -> None:
    with torch.device("meta"):
        network = CellNetwork(("nor_conv_3x3",) * 6, num_classes=10)
    kinds = [type(module) for module in network.cells]
    assert kinds == [*[Cell] * 5, DownBlock, *[Cell] * 5, DownBlock, *[Cell] * 5]
    assert isinstance(network, Network)
    outputs = network.outputs(torch.empty(2, 3, 32, 32, device="meta"))
    shapes = [tuple(stage.shape[1:]) for stage in outputs.stages]
    assert shapes == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]
    # 90 in cells, 4 in down blocks, stem and classifier; shortcuts are not counted
    assert count_layers(network) == 96
    assert count_params(network) == 73_306 + 6 * 243_040
    relus = [module for module in network.modules() if isinstance(module, nn.ReLU)]
    assert len(relus) == 90 + 4 + 1
    assert not any(relu.inplace for relu in relus)


def test_outputs_are_the_maps_after_each_stage() -> None:
    network, images = CellNetwork(ALL, (4, 8), cells=2).eval(), torch.randn(2, 3, 8, 8)
    seen: dict[str, Tensor] = {}
    for name in ("cells.1", "cells.4", "bn2", "relu"):
        module = network.get_submodule(name)
        module.register_forward_hook(lambda m, i, out, name=name: seen.update({name: out}))
    outputs = network.outputs(images)
    assert all(map(torch.equal, outputs.stages, (seen["cells.1"], seen["relu"])))
    assert all(map(torch.equal, outputs.preactivations, (seen["cells.1"], seen["bn2"])))
    torch.testing.assert_close(seen["bn2"], network.bn2(seen["cells.4"]))


def test_equal_operations_have_equal_names_in_all_cells() -> None:
    other = ("none", "nor_conv_1x1", "nor_conv_3x3", "none", "skip_connect", "nor_conv_3x3")
    names = []
    for operations in (ALL, other):
        with torch.device("meta"):
            network = CellNetwork(operations)
        names.append({(name, weight.shape) for name, weight in network.named_parameters()})
    shared = {name for name, _ in names[0] & names[1] if name.startswith("cells.0.")}
    parts = ("conv.weight", "bn.weight", "bn.bias")
    assert shared == {f"cells.0.{e}.{part}" for e in ("edge_0_2", "edge_2_3") for part in parts}


@pytest.mark.parametrize("operations", [("none",) * 5, ("none",) * 7, ("conv",) * 6])
def test_other_cells_are_refused(operations: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match=r"network.operations: .* must be 6 of none, skip_connect"):
        Cell(operations, 4)
