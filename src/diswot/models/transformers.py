"""Vision transformers on the tokens of patches: of one resolution, or pooled between stages."""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diswot.errors import UserError
from diswot.models.outputs import NetworkOutputs, PooledNetwork

PATCH = 16
"""Side of a patch in pixels."""
_EPS = 1e-6  # of LayerNorm


def positions(stride: int) -> int:
    """Patches along a side of the 224 pixels that the position embedding is made for."""
    return (224 - PATCH) // stride + 1


class BlockShape(NamedTuple):
    """Channels of a `TransformerBlock`, its attention heads, and its MLP's width over its own."""

    width: int
    heads: int
    mlp_ratio: float

    @property
    def hidden(self) -> int:
        """Channels inside the MLP, rounded down."""
        return int(self.width * self.mlp_ratio)


class Attention(nn.Module):
    """Self-attention of tokens ``(B, N, C)`` by heads of C / heads channels (Vaswani et al., 2017).

    Two matrix products and a softmax, not the fused kernel: that one has no second derivative,
    which some scores need. UserError where heads do not divide the width.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise UserError(f"a block of {width} channels cannot have {heads} heads of one width")
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """``(B, N, C)`` to the same shape."""
        split = self.qkv(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = split.unbind()
        scores = query * query.shape[-1] ** -0.5 @ key.transpose(-2, -1)
        mixed = (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)
        return cast(Tensor, self.proj(mixed))


class TransformerBlock(nn.Module):
    """Attention and an MLP of two layers with GELU, each behind a LayerNorm and added to its input.

    It takes and gives maps, whose pixels are the tokens, as every block does here. Source:
    Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021.
    """

    def __init__(self, shape: BlockShape) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(shape.width, _EPS)
        self.attn = Attention(shape.width, shape.heads)
        self.norm2 = nn.LayerNorm(shape.width, _EPS)
        widen, narrow = nn.Linear(shape.width, shape.hidden), nn.Linear(shape.hidden, shape.width)
        self.mlp = nn.Sequential(OrderedDict(fc1=widen, act=nn.GELU(), fc2=narrow))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to the same shape."""
        tokens = x.flatten(2).transpose(1, 2)  # a view in channels_last, as is the way back
        tokens = tokens + self.attn(self.norm1(tokens))
        tokens = tokens + self.mlp(self.norm2(tokens))
        return cast(Tensor, tokens.transpose(1, 2).unflatten(2, x.shape[2:]))


class PatchTransformer(PooledNetwork):
    """Patches of 16 × 16 pixels every ``stride``, stages of blocks, LayerNorm, mean, classifier.

    Between two stages a depthwise 3 × 3 convolution halves the map and multiplies the channels.
    Its parts are ``patch_embed pos_embed stages pools norm fc``. The position embedding is that of
    224 × 224 pixels, as published, and is resized (bicubic) for images of another size: parameters
    do not depend on it. There is no class token; the mean of the patches is classified.

    A stage's map is what its last block gives, the last one's after LayerNorm. A network of one
    stage shows up to three: after a third, two thirds and all of its blocks, rounded up. No map
    ends in an activation. Until LayerNorm's weights are trained all pixels of the last map have
    one norm: attention (Σ_c A²) is the same everywhere there.

    Args:
        stages: Blocks of each stage, those of a stage of one width.
        stride: Pixels from one patch to the next.

    Raises:
        UserError: Heads that do not divide the width, channels that are not multiplied by a whole
            number between stages, or in a pass: images without room for a patch.
    """

    def __init__(
        self,
        stages: Sequence[Sequence[BlockShape]],
        stride: int,
        num_classes: int = 10,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        widths = [stage[0].width for stage in stages]
        self.patch_embed = nn.Conv2d(in_channels, widths[0], PATCH, stride)
        side = positions(stride)
        self.pos_embed = nn.Parameter(torch.empty(1, widths[0], side, side))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.stages = nn.ModuleList(nn.Sequential(*map(TransformerBlock, s)) for s in stages)
        self.pools = nn.ModuleList()
        for before, after in pairwise(widths):
            if after % before:
                raise UserError(f"pooling cannot make {before} channels {after}: give a multiple")
            self.pools.append(nn.Conv2d(before, after, 3, 2, 1, groups=before))
        self.norm = nn.LayerNorm(widths[-1], _EPS)
        self.fc = nn.Linear(widths[-1], num_classes)
        ends = [[len(stage)] for stage in stages]
        if len(ends) == 1:
            ends = [[-(-len(stages[0]) * third // 3) for third in (1, 2, 3)]]
        self._ends = ends

    def outputs(self, images: Tensor) -> NetworkOutputs:
        """See `Network`."""
        x, maps = self._embedded(images), list[Tensor]()
        for number, (stage, ends) in enumerate(zip(self.stages, self._ends, strict=True)):
            x = self.pools[number - 1](x) if number else x
            for place, block in enumerate(cast(nn.Sequential, stage), start=1):
                x = block(x)
                if place in ends:
                    maps.append(x)
        maps[-1] = self.norm(maps[-1].movedim(1, -1)).movedim(-1, 1)
        return self.pooled(maps, maps)

    def _embedded(self, images: Tensor) -> Tensor:
        """``(B, in_channels, H, W)`` images as the first stage's input ``(B, C, H', W')``."""
        if min(images.shape[2:]) < PATCH:
            size = " × ".join(map(str, images.shape[2:]))
            raise UserError(
                f"images of {size} pixels hold no patch of {PATCH}: give data.image_size={PATCH} "
                "or more"
            )
        maps, places = cast(Tensor, self.patch_embed(images)), cast(Tensor, self.pos_embed)
        if maps.shape[2:] != places.shape[2:]:
            places = F.interpolate(places, maps.shape[2:], mode="bicubic", align_corners=False)
        return maps + places
