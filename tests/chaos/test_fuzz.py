"""A small part of the fuzzing; ``python tests/chaos/fuzz.py WORK`` is the whole."""

from pathlib import Path
from random import Random

import pytest
from fuzz import feed
from fuzz_mutations import mutated
from fuzz_readers import images, journals, nodes, results, tables, weights
from hypothesis import given, settings
from hypothesis import strategies as st

from diswot.config import conf_dir, make, member_node
from diswot.errors import UserError
from diswot.spaces import Space

MAKERS = (journals, results, tables, nodes, images, weights)
QUICK = ("s0", "s1", "s2", "nasbench201", "pit", "autoformer")
SPACES = {name: make(member_node("space", name, [conf_dir()]), "space", Space) for name in QUICK}


@pytest.mark.parametrize("maker", MAKERS)
def test_damaged_input_is_read_or_refused(maker, tmp_path: Path) -> None:
    for kind in maker(tmp_path):
        tally = feed(kind, 20, Random(0))
        assert not tally.findings, f"{kind.name}: {tally.findings}"


@pytest.mark.parametrize("name", QUICK)
@settings(max_examples=200, deadline=None)
@given(st.data())
def test_texts_are_read_as_they_are_written(name: str, data: st.DataObject) -> None:
    space = SPACES[name]
    arch = str(space.sample(Random(data.draw(st.integers(0, 100)))))
    text = data.draw(
        st.text()
        | st.builds(lambda seed: mutated(Random(seed), arch.encode()), st.integers()).map(
            lambda content: content.decode("utf-8", "replace")
        )
    )
    try:
        read = space.parse(text)
    except UserError:
        return
    assert str(read) == text
    assert space.parse(str(read)) == read
