"""S0: its 64 networks."""

from __future__ import annotations

from random import Random

import pytest
from spaces_helpers import layers, make_space, on_meta

from diswot.errors import UserError
from diswot.spaces.s0 import S0

SPACE = make_space("s0", S0)


def test_the_64_networks_of_the_paper() -> None:
    choices = (1, 3, 5, 7)
    expected = [f"s0:{a}-{b}-{c}" for a in choices for b in choices for c in choices]
    assert [str(arch) for arch in SPACE.enumerate()] == expected
    assert SPACE.embedding_width == 64


def test_networks_run_the_layers_they_say() -> None:
    assert layers(on_meta(SPACE, "s0:1-3-1")) == [
        (3, 16, 3, 1, 1),
        *[(16, 16, 3, 1, 1)] * 2,
        *[(16, 32, 3, 2, 1), (32, 32, 3, 1, 1), (16, 32, 1, 2, 0)],
        *[(32, 32, 3, 1, 1)] * 4,
        *[(32, 64, 3, 2, 1), (64, 64, 3, 1, 1), (32, 64, 1, 2, 0)],
    ]


def test_a_single_architecture_has_no_neighbour() -> None:
    alone = make_space("s0", depths=[3])
    assert [str(arch) for arch in alone.enumerate()] == ["s0:3-3-3"]
    with pytest.raises(UserError, match="single architecture"):
        alone.mutate(alone.sample(Random(0)), Random(0))
