"""S0: its 64 networks."""

from __future__ import annotations

from random import Random

import pytest
from spaces_helpers import layers, make_space, on_meta

from diswot.errors import UserError
from diswot.spaces.s0 import S0


@pytest.fixture(scope="module")
def s0() -> S0:
    return make_space("s0", S0)


def test_the_64_networks_of_the_paper(s0: S0) -> None:
    choices = (1, 3, 5, 7)
    expected = [f"s0:{a}-{b}-{c}" for a in choices for b in choices for c in choices]
    assert [str(arch) for arch in s0.enumerate()] == expected
    assert s0.embedding_width == 64


def test_networks_run_the_layers_they_say(s0: S0) -> None:
    assert layers(on_meta(s0, "s0:1-3-1")) == [
        (3, 16, 3, 1, 1),
        *[(16, 16, 3, 1, 1)] * 2,
        *[(16, 32, 3, 2, 1), (32, 32, 3, 1, 1), (16, 32, 1, 2, 0)],
        *[(32, 32, 3, 1, 1)] * 4,
        *[(32, 64, 3, 2, 1), (64, 64, 3, 1, 1), (32, 64, 1, 2, 0)],
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("s0:1-2-5", r"'s0:1-2-5': depth of stage 2 is 2; .* 1, 3, 5, 7"),
        ("s0:1-03-5", r"canonical form, which is s0:1-3-5"),
        ("s0:1-3", r"which reads s0:1-1-1"),
    ],
)
def test_other_texts_are_refused(s0: S0, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        s0.parse(text)


@pytest.mark.parametrize("depths", [[], [1, 1]])
def test_bad_choices_are_refused(depths: list[int]) -> None:
    with pytest.raises(UserError, match=r"space=s0: depth of stage 1 .* at least one"):
        make_space("s0", depths=depths)
    with pytest.raises(UserError, match=r"space.shortcut=C: allowed are A, B"):
        make_space("s0", shortcut="C")


def test_a_single_architecture_has_no_neighbour() -> None:
    alone = make_space("s0", depths=[3])
    assert [str(arch) for arch in alone.enumerate()] == ["s0:3-3-3"]
    with pytest.raises(UserError, match="single architecture"):
        alone.mutate(alone.sample(Random(0)), Random(0))
