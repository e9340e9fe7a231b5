"""The AutoFormer space of Auto-Prox: vision transformers of one resolution."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from diswot.checks import positive, whole
from diswot.errors import UserError
from diswot.spaces.base import Gene, Space, SpaceSize

if TYPE_CHECKING:
    from torch import nn

    from diswot.models.outputs import Cost
    from diswot.models.transformers import BlockShape

STRIDE = 16  # patches beside each other
_LAYER = re.compile(r"(\d{1,4}\.\d{1,17})x(\d{1,9})")


class Layer(NamedTuple):
    """One block: the MLP's width over the block's, and its attention heads; text ``3.5x4``."""

    mlp_ratio: float
    heads: int

    def __str__(self) -> str:
        return f"{self.mlp_ratio}x{self.heads}"


@dataclass(frozen=True)
class AutoFormerArch:
    """Width of all blocks, and the blocks; text ``autoformer:192/3.5x4-4.0x3-3.5x3``."""

    width: int
    layers: tuple[Layer, ...]
    space: str = "autoformer"

    def __str__(self) -> str:
        return f"{self.space}:{self.width}/{'-'.join(map(str, self.layers))}"


class AutoFormer(Space):
    """Transformers that differ in width and depth, and block by block in MLP ratio and heads.

    Heads have width / heads channels, as in the networks that Auto-Prox trained: neither
    parameters nor MACs depend on their number. (AutoFormer's super-network, of which the ImageNet
    accuracies are, has 64 channels a head.) Those networks carry a class token through the blocks
    that no classifier reads; these have none. Their images have 224 pixels.

    Source: Wei et al., "Auto-Prox: Training-Free Vision Transformer Architecture Search via
    Automatic Proxy Discovery", AAAI 2024; the space is AutoFormer-Ti's of Chen et al., "AutoFormer:
    Searching Transformers for Visual Recognition", ICCV 2021.

    Args:
        widths, depths: Allowed channels, and numbers of blocks, three at least.
        mlp_ratios, heads: Allowed in each block; heads divide every width.
    """

    def __init__(
        self,
        *,
        widths: Sequence[int],
        depths: Sequence[int],
        mlp_ratios: Sequence[float],
        heads: Sequence[int],
        **space: Any,
    ) -> None:
        super().__init__(**space)
        whole_numbers = {"widths": (widths, 1), "depths": (depths, 3), "heads": (heads, 1)}
        choices: dict[str, tuple[float, ...]] = {
            name: tuple(sorted({whole(f"space.{name}", value, low) for value in values}))
            for name, (values, low) in whole_numbers.items()
        }
        ratios = {float(positive("space.mlp_ratios", ratio)) for ratio in mlp_ratios}
        choices["mlp_ratios"] = tuple(sorted(ratios))
        for name, values in choices.items():
            if not values:
                raise UserError(f"space.{name}=[]: give at least one")
        check_heads(choices["widths"], choices["heads"])
        self._width = Gene("width", choices["widths"], ordered=True)
        self._depth = Gene("depth", choices["depths"], ordered=True)
        self._layer = (
            Gene("MLP ratio", choices["mlp_ratios"], ordered=True),
            Gene("number of heads", choices["heads"], ordered=True),
        )

    @property
    def size(self) -> SpaceSize:
        """Exact: the widths, times the layers' choices at each depth."""
        of_layer = len(self._layer[0].choices) * len(self._layer[1].choices)
        stacks = sum(of_layer ** int(depth) for depth in self._depth.choices)
        return SpaceSize(len(self._width.choices) * stacks)

    @cached_property
    def example(self) -> AutoFormerArch:
        """An architecture that messages give as an example of the text form."""
        return next(self.enumerate())

    @property
    def embedding_width(self) -> int | None:
        """None, as the width is a choice; the width where only one is allowed."""
        widths = self._width.choices
        return int(widths[0]) if len(widths) == 1 else None

    def sample(self, rng: Random) -> AutoFormerArch:
        """Draw width and depth, then every block by itself."""
        width, depth = int(self._width.sample(rng)), int(self._depth.sample(rng))
        return self._arch(width, [self._block(rng) for _ in range(depth)])

    def mutate(self, arch: AutoFormerArch, rng: Random) -> AutoFormerArch:
        """Change the width, the depth, or one block's MLP ratio or heads, each as likely.

        Blocks are added and taken away at the end; new ones are random.
        """
        free = [g for g in (self._width, self._depth, *self._layer) if len(g.choices) > 1]
        if not free:
            raise UserError(f"space={self.name}: holds a single architecture: nothing to mutate")
        gene, layers, depth = rng.choice(free), list(arch.layers), len(arch.layers)
        if gene is self._width:
            return replace(arch, width=int(rng.choice(gene.neighbours(arch.width))))
        if gene is self._depth:
            new = int(rng.choice(gene.neighbours(depth)))
            added = [self._block(rng) for _ in range(depth, new)]
            return self._arch(arch.width, [*layers, *added][:new])
        number = rng.randrange(depth)
        ratio, heads = layers[number]
        if gene is self._layer[0]:
            ratio = float(rng.choice(gene.neighbours(ratio)))
        else:
            heads = int(rng.choice(gene.neighbours(heads)))
        layers[number] = Layer(ratio, heads)
        return self._arch(arch.width, layers)

    def enumerate(self) -> Iterator[AutoFormerArch]:
        """All, the last block changing fastest."""
        ratios, heads = (gene.choices for gene in self._layer)
        blocks = [Layer(float(ratio), int(n)) for ratio, n in itertools.product(ratios, heads)]
        for width, depth in itertools.product(self._width.choices, self._depth.choices):
            for layers in itertools.product(blocks, repeat=int(depth)):
                yield self._arch(int(width), layers)

    def parse(self, text: str) -> AutoFormerArch:
        """Read the text form; UserError for another one or a value that is not a choice."""
        head, _, rest = text.partition("/")
        name, _, width = head.partition(":")
        matches = [match for layer in rest.split("-") if (match := _LAYER.fullmatch(layer))]
        whole_form = re.fullmatch(r"\d{1,9}", width) and len(matches) == rest.count("-") + 1
        if name != self.name or not whole_form:
            raise UserError(
                f"arch {text!r} is not of space {self.name}, which reads {self.example}"
            )
        layers = [Layer(float(match[1]), int(match[2])) for match in matches]
        arch = self._arch(int(width), layers)
        values: list[tuple[str, Gene, float]] = [("width", self._width, arch.width)]
        values.append(("depth", self._depth, len(layers)))
        for number, layer in enumerate(layers, start=1):
            for gene, value in zip(self._layer, layer, strict=True):
                values.append((f"{gene.name} of block {number}", gene, value))
        for what, gene, value in values:
            if value not in gene.choices:
                allowed = ", ".join(map(str, gene.choices))
                raise UserError(
                    f"arch {text!r}: {what} is {value}; space {self.name} allows {allowed}"
                )
        if str(arch) != text:
            raise UserError(f"arch {text!r} is not in canonical form, which is {arch}")
        return arch

    def cost(self, arch: AutoFormerArch, *, num_classes: int, image: tuple[int, int, int]) -> Cost:
        """See `Space`."""
        from diswot.models.formula import transformer_cost

        return transformer_cost([_shapes(arch)], STRIDE, num_classes, image)

    def build(self, arch: AutoFormerArch, *, num_classes: int, in_channels: int = 3) -> nn.Module:
        """See `Space`."""
        from diswot.models.transformers import PatchTransformer

        return PatchTransformer([_shapes(arch)], STRIDE, num_classes, in_channels)

    def _block(self, rng: Random) -> Layer:
        ratio, heads = (gene.sample(rng) for gene in self._layer)
        return Layer(float(ratio), int(heads))

    def _arch(self, width: int, layers: Sequence[Layer]) -> AutoFormerArch:
        return AutoFormerArch(width, tuple(layers), self.name)


def check_heads(widths: Sequence[float], heads: Sequence[float]) -> None:
    """Raise `UserError` unless every number of heads divides every width."""
    for width, number in itertools.product(widths, heads):
        if width % number:
            raise UserError(
                f"space.heads: {number} heads of one width do not fill {width} channels"
            )


def text_of(row: Mapping[str, Any]) -> str:
    """The text of an architecture in Auto-Prox's tables.

    It has the keys ``hidden_dim``, ``depth`` and, with an entry a block, ``mlp_ratio`` and
    ``num_heads``. ValueError where their lengths differ.
    """
    ratios, heads = row["mlp_ratio"][: row["depth"]], row["num_heads"][: row["depth"]]
    layers = (Layer(float(ratio), int(n)) for ratio, n in zip(ratios, heads, strict=True))
    return str(AutoFormerArch(int(row["hidden_dim"]), tuple(layers)))


def _shapes(arch: AutoFormerArch) -> list[BlockShape]:
    from diswot.models.transformers import BlockShape

    return [BlockShape(arch.width, layer.heads, layer.mlp_ratio) for layer in arch.layers]
