"""Genes, sizes, and configs of spaces by name."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from spaces_helpers import MEMBERS

from diswot.commands import compose
from diswot.config import conf_dir
from diswot.errors import UserError
from diswot.spaces import Gene, SpaceSize, space_node
from diswot.spaces.base import steps


@pytest.mark.parametrize("ordered", [False, True])
def test_neighbours_are_other_choices(ordered: bool) -> None:
    gene = Gene("g", steps(1, 12), ordered=ordered)
    for value in gene.choices:
        near = [v for v in gene.choices if v != value and (not ordered or abs(v - value) <= 3)]
        assert gene.neighbours(value) == near
    assert Gene("g", ("a", "b")).neighbours("a") == ["b"]
    assert Gene("g", (1, 2), ordered=True).neighbours(2) == [1]
    assert {gene.sample(rng) for rng in map(Random, range(300))} == set(gene.choices)


def test_sizes_read_well() -> None:
    sizes = (SpaceSize(15625), SpaceSize(14843406974976), SpaceSize(1000, exact=False))
    assert list(map(str, sizes)) == ["15,625", "1.48e+13", "at least 1,000"]


@pytest.mark.parametrize("name", MEMBERS)
def test_nodes_are_those_the_command_line_gives(name: str) -> None:
    assert space_node(name, [conf_dir()]) == compose("search", [f"space={name}"], None)["space"]


@pytest.mark.parametrize("name", ["s9", "", "../space/s0", "s0.yaml", "s0\n", "*", "/etc/passwd"])
def test_names_of_no_space(name: str) -> None:
    with pytest.raises(UserError) as caught:
        space_node(name, [conf_dir()])
    assert str(caught.value) == f"there is no space {name!r}; spaces are: {', '.join(MEMBERS)}"


def own(folder: Path, text: str) -> list[Path]:
    (folder / "space").mkdir()
    (folder / "space" / "mine.yaml").write_text(text)
    return [conf_dir(), folder]


def test_further_folders(tmp_path: Path) -> None:
    folders = own(tmp_path, "_target_: mine.Space\nname: mine\nlabel: ${.name}\n")
    node = {"_target_": "mine.Space", "name": "mine", "label": "mine"}
    assert space_node("mine", folders) == node
    with pytest.raises(UserError, match=rf"spaces are: {', '.join(MEMBERS)}, mine$"):
        space_node("other", folders)


@pytest.mark.parametrize(
    "text",
    [
        "defaults: [s0]\n_target_: mine.Space\nname: mine\n",
        "name: mine\n",
        "[1, 2]\n",
        "_target_: [\n",
        "_target_: mine.Space\nseed: ${seed}\n",
        "_target_: mine.Space\ncells: ???\n",
    ],
)
def test_files_that_say_too_little_alone(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match=r"mine.yaml .*; give space=mine$"):
        space_node("mine", own(tmp_path, text))
