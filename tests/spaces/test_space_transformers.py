"""The spaces of vision transformers: choices, texts, mutations and what is refused."""

from math import comb
from random import Random

import pytest
from spaces_helpers import draws, make_space, on_meta

from diswot.errors import UserError
from diswot.models.outputs import count_params
from diswot.spaces import SpaceSize
from diswot.spaces import autoformer as af
from diswot.spaces import pit as p

AUTOFORMER, PIT = make_space("autoformer", af.AutoFormer), make_space("pit", p.PiT)
BLOCKS = "-".join(["3.5x4", "4.0x3"] * 6)


def test_sizes_are_exact() -> None:
    assert AUTOFORMER.size == SpaceSize(3 * (4**12 + 4**13 + 4**14))
    assert PIT.size == SpaceSize(4 * 4 * 27 * comb(5, 3))
    small = make_space("autoformer", widths=[12, 24], depths=[3], heads=[3])
    assert small.size == SpaceSize(2 * 2**3)
    assert len(set(small.enumerate())) == 16


def test_texts() -> None:
    arch = AUTOFORMER.parse(f"autoformer:216/{BLOCKS}")
    assert (arch.width, len(arch.layers), arch.layers[1]) == (216, 12, (4.0, 3))
    arch = PIT.parse("pit:24/4/2x2-8x4-4x8")
    assert (arch.head_width, arch.mlp_ratio, arch.stages) == (24, 4, ((2, 2), (8, 4), (4, 8)))


def test_heads_of_a_block_have_width_over_heads_channels() -> None:
    """So that their number changes no parameter, as in the networks that were trained."""
    texts = (f"autoformer:216/{BLOCKS}", f"autoformer:216/{BLOCKS.replace('x4', 'x3')}")
    one, other = (on_meta(AUTOFORMER, text) for text in texts)
    assert count_params(one) == count_params(other)
    assert one.stages[0][0].attn.heads == 4  # type: ignore[index, union-attr]
    assert one.stages[0][0].mlp.fc1.out_features == 756  # type: ignore[index, union-attr]


def test_a_mutation_changes_one_thing() -> None:
    rng, kinds = Random(0), set()
    for arch in draws(AUTOFORMER, 60):
        assert isinstance(arch, af.AutoFormerArch)
        other = AUTOFORMER.mutate(arch, rng)
        if other.width != arch.width:
            assert other.layers == arch.layers
            kinds.add("width")
        elif len(other.layers) != len(arch.layers):
            shorter = min(len(other.layers), len(arch.layers))
            assert other.layers[:shorter] == arch.layers[:shorter]
            kinds.add("depth")
        else:
            pairs = zip(arch.layers, other.layers, strict=True)
            [(before, after)] = [pair for pair in pairs if pair[0] != pair[1]]
            assert (before.heads == after.heads) != (before.mlp_ratio == after.mlp_ratio)
            kinds.add("block")
    assert kinds == {"width", "depth", "block"}
    for arch in draws(PIT, 60):
        assert isinstance(arch, p.PiTArch)
        values = zip(PIT.values(arch), PIT.values(PIT.mutate(arch, rng)), strict=True)
        assert sum(before != after for before, after in values) == 1


def test_texts_of_the_published_rows() -> None:
    row = {"hidden_dim": 192, "mlp_ratio": [3.5, 4.0] * 6, "depth": 12, "num_heads": [4, 3] * 6}
    assert af.text_of(row) == f"autoformer:192/{BLOCKS}"
    row = {"base_dim": 24, "mlp_ratio": 4, "depth": [2, 8, 4], "num_heads": [2, 4, 8]}
    assert p.text_of(row) == "pit:24/4/2x2-8x4-4x8"
    with pytest.raises(ValueError, match=r"shorter|longer"):
        p.text_of({**row, "depth": [2, 8]})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"autoformer:200/{BLOCKS}", "width is 200; space autoformer allows 192, 216, 240"),
        (f"autoformer:192/{BLOCKS[:-6]}", "depth is 11; space autoformer allows 12, 13, 14"),
        (f"autoformer:192/2.5{BLOCKS[3:]}", "MLP ratio of block 1 is 2.5; .* allows 3.5, 4.0"),
        (f"autoformer:192/{BLOCKS[:-1]}7", "number of heads of block 12 is 7; .* allows 3, 4"),
        (
            f"autoformer:192/{BLOCKS}-",
            "is not of space autoformer, which reads autoformer:192/3.5x3-",
        ),
        ("pit:24/4/2x4-8x2-4x8", "the heads of a stage are no multiple of those before"),
        ("pit:24/4/2x2-5x4-4x8", "depth of stage 2 is 5; space pit allows 4, 6, 8"),
        ("pit:24/4/2x2-8x4", "is not of space pit, which reads pit:16/2/1x2-4x2-2x2"),
    ],
)
def test_texts_that_are_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_space(text.partition(":")[0]).parse(text)


@pytest.mark.parametrize(
    ("space", "settings", "message"),
    [
        ("autoformer", {"depths": [2]}, r"space\.depths=2 is not allowed"),
        ("autoformer", {"heads": [5]}, r"space\.heads: 5 heads of one width do not fill 192 chan"),
        ("autoformer", {"mlp_ratios": []}, r"space\.mlp_ratios=\[\]: give at least one"),
        ("autoformer", {"mlp_ratios": [0]}, r"space\.mlp_ratios=0 is not allowed"),
        ("pit", {"depths": []}, r"space\.depths=\[\]: give"),
        ("pit", {"heads": [0]}, r"space\.heads=0 is not allowed"),
    ],
)
def test_settings_that_are_refused(space: str, settings: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_space(space, **settings)


def test_one_architecture_alone_has_no_neighbour() -> None:
    one = {"widths": [192], "depths": [12], "mlp_ratios": [4], "heads": [3]}
    space = make_space("autoformer", **one)
    assert space.embedding_width == 192
    with pytest.raises(UserError, match="holds a single architecture"):
        space.mutate(space.sample(Random(0)), Random(0))
    one = {"head_widths": [16], "mlp_ratios": [2], "depths": [[1]], "heads": [2]}
    space = make_space("pit", **one)
    assert space.embedding_width == 32
    with pytest.raises(UserError, match="has no neighbour"):
        space.mutate(space.sample(Random(0)), Random(0))
