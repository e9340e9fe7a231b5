"""Genes, sizes, configs of spaces by name, and texts and settings that spaces refuse."""

import re
from pathlib import Path
from random import Random

import pytest
from spaces_helpers import MEMBERS, make_space

from diswot.commands import compose
from diswot.config import conf_dir, member_node
from diswot.errors import UserError
from diswot.spaces import Gene
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


@pytest.mark.parametrize("name", MEMBERS)
def test_nodes_are_those_the_command_line_gives(name: str) -> None:
    composed = compose("search", [f"space={name}"], None)
    assert member_node("space", name, [conf_dir()]) == composed["space"]


@pytest.mark.parametrize("name", ["s9", "", "../space/s0", "s0.yaml", "s0\n", "*", "/etc/passwd"])
def test_names_of_no_space(name: str) -> None:
    with pytest.raises(UserError) as caught:
        member_node("space", name, [conf_dir()])
    assert str(caught.value) == f"there is no space {name!r}; spaces are: {', '.join(MEMBERS)}"


def own(folder: Path, text: str) -> list[Path]:
    (folder / "space").mkdir()
    (folder / "space" / "mine.yaml").write_text(text)
    return [conf_dir(), folder]


def test_further_folders(tmp_path: Path) -> None:
    folders = own(tmp_path, "_target_: mine.Space\nname: mine\nlabel: ${.name}\n")
    node = {"_target_": "mine.Space", "name": "mine", "label": "mine"}
    assert member_node("space", "mine", folders) == node
    with pytest.raises(UserError, match=rf"spaces are: {', '.join(MEMBERS)}, mine$"):
        member_node("space", "other", folders)


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
        member_node("space", "mine", own(tmp_path, text))


RESNET18 = "s2:64/b3x2-64/b3x2-128/b3x2-256/b3x2-512"
CELL = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|nor_conv_3x3~1|avg_pool_3x3~2|"


@pytest.mark.parametrize(
    ("space", "text", "message"),
    [
        ("s0", "s0:1-2-5", "'s0:1-2-5': depth of stage 2 is 2; space s0 allows 1, 3, 5, 7"),
        ("s0", "s0:1-03-5", "canonical form, which is s0:1-3-5"),
        ("s0", "s0:1-3", "which reads s0:1-1-1"),
        ("s1", "s1:16/b3x1-8-8/b3x1-8-8", "has 2 stages; space s1 has 3"),
        ("s1", "s1:16/x3x1-8-8/b3x1-8-8/b3x1-8-8", "is not of space s1, which reads s1:8/b3"),
        ("s1", "s1:16/b3x1-8-8/b3x1-257-8/b3x1-8-8", "middle width of stage 2 is 257; space s1"),
        ("s1", "s1:016/b3x1-8-8/b3x1-8-8/b3x1-8-8", "canonical form, which is s1:16/"),
        ("s2", RESNET18.replace("x2-512", "x3-512"), "has 20 layers; space.max_layers allows 18"),
        ("s2", RESNET18.replace("-512", "-1032"), "width of stage 4 is 1032; space s2 allows 128,"),
        ("s2", "s2:64/b3x2-64/b3x2-128", "has 2 stages; space s2 has 4"),
        ("s2", "s2:64/n3x2-64/b3x2-128", f"is not of space s2, which reads {RESNET18}"),
        ("nasbench201", CELL.replace("skip_connect", "conv"), "from node 1 to 2 is conv; space"),
        ("nasbench201", CELL.replace("~2", "~1"), "of space nasbench201, which reads |skip_conn"),
        ("nasbench201", f"nasbench201:{CELL}", "is not of space nasbench201"),
    ],
)
def test_texts(space: str, text: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        make_space(space).parse(text)


@pytest.mark.parametrize(
    ("space", "setting", "value", "message"),
    [
        ("s0", "depths", [], "space=s0: depth of stage 1 has the choices []; at least one"),
        ("s0", "depths", [1, 1], "space=s0: depth of stage 1 has the choices [1, 1]; at least one"),
        ("s0", "shortcut", "C", "space.shortcut=C: allowed are A, B"),
        ("s1", "blocks", ["conv"], "space.blocks=conv: allowed are basic, bottleneck"),
        ("s1", "kernels", [3, 4], "space.kernels: 4 is even"),
        ("s2", "max_layers", 9, "space.max_layers=9 is not allowed; give a whole number of at le"),
        ("s2", "max_layers", 16, "has 18 layers; space.max_layers allows 16"),
        ("s2", "kernels", [5, 7], "kernel of stage 1 is 3; space s2 allows 5, 7"),
        ("s2", "width_limits", [0.5], "space.width_limits=[0.5]: give the narrowest and the"),
        ("s2", "width_limits", [0.5, 0.9], "space.width_limits=0.9 is not allowed"),
        ("s2", "width_step", 0, "space.width_step=0 is not allowed"),
        ("s2", "base", "resnet18", "space.base=resnet18 is not allowed; give one as s2:64/b3x2-64"),
        ("nasbench201", "cells", 0, "space.cells"),
        ("nasbench201", "widths", [], "space.widths"),
        ("nasbench201", "widths", [16, 0], "space.widths"),
    ],
)
def test_settings(space: str, setting: str, value: object, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        make_space(space, **{setting: value})
