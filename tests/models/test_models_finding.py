"""Stages and classifiers that nobody has named, and maps in what modules give."""

import pytest
import torch
from torch import Tensor, nn

from diswot.errors import UserError
from diswot.models.adapter import AdaptedNetwork, adapted
from diswot.models.finding import find_parts, shown


class Tokens(nn.Module):
    """A column of blocks over a class token and the 3 x 3 patches of an image."""

    num_prefix_tokens = 1

    def __init__(self, depth: int = 8) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 5, 2, 2)
        self.first = nn.Parameter(torch.zeros(1, 1, 5))
        self.blocks = nn.Sequential(*(nn.Linear(5, 5) for _ in range(depth)))
        self.head = nn.Linear(5, 4)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.first.expand(len(images), -1, -1), patches], 1)
        return self.head(self.blocks(tokens)[:, 0])


@pytest.mark.parametrize(
    ("shape", "prefix", "expected"),
    [
        ((2, 5, 3, 3), 0, (2, 5, 3, 3)),
        ((2, 3, 3, 5), 0, (2, 5, 3, 3)),  # channels last
        ((2, 5, 5, 5), 0, (2, 5, 5, 5)),
        ((2, 10, 5), 1, (2, 5, 3, 3)),
        ((2, 11, 5), 2, (2, 5, 3, 3)),
        ((2, 9, 5), 1, (2, 5, 3, 3)),  # tokens before a class token joins them
        ((2, 10, 5), 0, (2, 5, 3, 3)),  # one that the model does not tell of
        ((2, 5), 0, (2, 5, 1, 1)),
        ((2, 5, 3, 4), 0, (2, 5, 3, 4)),
    ],
)
def test_maps_are_shown_and_lead_back(
    shape: tuple[int, ...], prefix: int, expected: tuple[int, ...]
) -> None:
    output = torch.randn(shape)
    seen = shown(output, prefix)
    assert seen is not None
    assert seen.map.shape == expected
    assert torch.equal(seen.back(seen.map), output)


def test_tokens_are_rows_of_the_grid() -> None:
    tokens = torch.arange(10.0).reshape(1, 10, 1)
    seen = shown(tokens, 1)
    assert seen is not None
    assert seen.map.tolist() == [[[[1, 2, 3], [4, 5, 6], [7, 8, 9]]]]


@pytest.mark.parametrize("output", [torch.zeros(2, 40, 5), torch.zeros(3), (1, 2), None])
def test_what_holds_no_map(output: object) -> None:
    assert shown(output) is None


@pytest.mark.parametrize(("depth", "chosen"), [(8, (1, 3, 5, 7)), (6, (0, 2, 3, 5)), (2, (0, 1))])
def test_of_a_column_four_blocks_are_stages(depth: int, chosen: tuple[int, ...]) -> None:
    model, images = Tokens(depth).eval(), torch.randn(2, 3, 6, 6)
    blocks = [f"blocks.{number}" for number in range(depth)]
    paths = [f"blocks.{number}" for number in chosen]
    assert find_parts(model, images, blocks) == (paths, "head")
    assert find_parts(model, images) == ([*paths[:-1], "blocks"], "head")


def test_parts_are_found_on_the_meta_device_too() -> None:
    images = torch.randn(2, 3, 6, 6)
    assert find_parts(Tokens().to("meta"), images.to("meta")) == find_parts(Tokens(), images)


def test_maps_of_tokens_lie_on_the_way_to_the_logits() -> None:
    network, images = adapted(Tokens().eval(), torch.randn(2, 3, 6, 6)), torch.randn(2, 3, 6, 6)
    outputs = network.outputs(images)
    assert torch.equal(outputs.logits, network(images))
    assert [tuple(each.shape) for each in outputs.stages] == [(2, 5, 3, 3)] * 4
    gradients = torch.autograd.grad(
        outputs.logits.sum(), outputs.stages, allow_unused=True, materialize_grads=True
    )
    assert len(gradients) == 4  # all are part of the graph; patches do not reach a class token
    network.first.data += 1
    assert not torch.equal(network(images), outputs.logits)


def test_a_stage_that_gives_no_map() -> None:
    model = Tokens().eval()
    with pytest.raises(UserError, match=r"'blocks.0' gives \(1, 13, 5\), not a \(B, C, H, W\) map"):
        AdaptedNetwork(model, ["blocks.0"], "head").outputs(torch.randn(1, 3, 6, 8))


def test_an_average_of_two_heads_is_no_classifier() -> None:
    class Two(Tokens):
        def forward(self, images: Tensor) -> Tensor:
            return (super().forward(images) + super().forward(images)) / 2

    with pytest.raises(UserError, match="its logits are not what a Linear gives"):
        find_parts(Two().eval(), torch.randn(2, 3, 6, 6))
