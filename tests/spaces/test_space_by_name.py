"""Spaces found by name in the folders of configs."""

from __future__ import annotations

from pathlib import Path

import pytest

from diswot.commands import compose
from diswot.config import conf_dir
from diswot.errors import UserError
from diswot.spaces.by_name import space_node

MEMBERS = sorted(path.stem for path in (conf_dir() / "space").glob("*.yaml"))


@pytest.mark.parametrize("name", MEMBERS)
def test_nodes_are_those_the_command_line_gives(name: str) -> None:
    assert space_node(name, [conf_dir()]) == compose("search", [f"space={name}"], None)["space"]


@pytest.mark.parametrize("name", ["s9", "", "../space/s0", "s0.yaml", "s0\n", "*", "/etc/passwd"])
def test_names_of_no_space(name: str) -> None:
    with pytest.raises(UserError, match=r"there is no space .*; spaces are: nasbench201, s0, s1"):
        space_node(name, [conf_dir()])


def own(folder: Path, name: str, text: str) -> list[Path]:
    (folder / "space").mkdir()
    (folder / "space" / f"{name}.yaml").write_text(text)
    return [conf_dir(), folder]


def test_further_folders(tmp_path: Path) -> None:
    folders = own(tmp_path, "mine", "_target_: mine.Space\nname: mine\nlabel: ${.name}\n")
    assert space_node("mine", folders) == {
        "_target_": "mine.Space",
        "name": "mine",
        "label": "mine",
    }
    with pytest.raises(UserError, match=r"spaces are: nasbench201, s0, s1, s2, mine$"):
        space_node("other", folders)


def test_names_are_words(tmp_path: Path) -> None:
    folders = own(tmp_path, "my-space", "_target_: mine.Space\nname: my-space\n")
    with pytest.raises(UserError, match="there is no space 'my-space'"):
        space_node("my-space", folders)


@pytest.mark.parametrize(
    "text",
    [
        "defaults: [s0]\n",
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
        space_node("mine", own(tmp_path, "mine", text))
