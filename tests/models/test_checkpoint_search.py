"""Students that a search found, from its ``result.json`` as data."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from models_helpers import CONF, Json, searched, trained

from diswot.checkpoint import build_student, resolve_student
from diswot.errors import UserError
from diswot.spaces import space_node

IMAGES = torch.randn(2, 1, 8, 8)


def resolved(run: Path, space: Json | None = None) -> Json:
    student = {"name": "searched", "weights": "none", "run": str(run)}
    return resolve_student({"student": student, "space": space}, [CONF])


@pytest.mark.parametrize("params", [225722, 226010], ids=["grey", "colour"])
@pytest.mark.parametrize("further", [{}, {"versions": {}, "_target_": "os.system"}])
def test_the_best_of_a_search(tmp_path: Path, params: int, further: Json) -> None:
    """Nothing else in the result is read."""
    run = searched(tmp_path, params=params, **further)
    config = resolved(run)
    expected = {"name": "searched", "weights": "none", "run": str(run), "arch": "s0:1-1-3"}
    assert config == {"student": expected, "space": space_node("s0", [CONF])}
    assert build_student(config["student"], config["space"], 3, 1)(IMAGES).shape == (2, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 2}, "is damaged .schema 2 is not known"),
        ({"space": {"_target_": "os.system"}}, "is damaged .Expected `str`, got `object`"),
        ({"space": "../teacher/resnet20"}, "no space '../teacher/resnet20'; spaces are: "),
        ({"space": "s1"}, "'s0:1-1-3' is not of space s1"),
        ({"arch": "s0:1-1-8"}, "is damaged .*s0:1-1-8"),
        ({"arch": "s0:1-1-03"}, "is damaged .*'s0:1-1-03' is not in canonical form"),
        ({"params": 225723}, "params is 225723, but s0:1-1-3 with 10 classes has 226010 or 225722"),
        ({"params": True}, "is damaged .Expected `int`, got `bool`"),
        ({"num_classes": 11}, "with 11 classes has 226075 or 225787"),
        ({"in_channels": 3}, "has 226010; if the search had settings of space s0 changed"),
    ],
)
def test_tampered_results(tmp_path: Path, changes: Json, message: str) -> None:
    run = searched(tmp_path, **changes)
    with pytest.raises(UserError, match=message) as caught:
        resolved(run)
    assert str(caught.value).startswith(str(run / "result.json"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"schema": 1', b"\xff"])
def test_results_that_are_no_json(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "result.json").write_bytes(content)
    with pytest.raises(UserError, match=r"result.json is damaged .*run the same search again"):
        resolved(tmp_path)


def test_runs_that_are_no_finished_search(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no result.json; give the run directory"):
        resolved(tmp_path)
    (tmp_path / "candidates.jsonl").touch()
    with pytest.raises(UserError, match=r"has not finished.*run its command again"):
        resolved(tmp_path)
    with pytest.raises(UserError, match="is not a folder"):
        resolved(tmp_path / "candidates.jsonl")
    trained(searched(tmp_path / "train"))
    with pytest.raises(UserError, match="is the run of a training; give that of a search"):
        resolved(tmp_path / "train")


def test_spaces_that_are_given_must_be_the_searchs(tmp_path: Path) -> None:
    run = searched(tmp_path)
    with pytest.raises(UserError, match=r"^space=s1: .* is of s0; give space=s0"):
        resolved(run, space_node("s1", [CONF]))
    narrow = {**space_node("s0", [CONF]), "shortcut": "A"}
    with pytest.raises(UserError, match="settings of space s0 changed, give the same ones here"):
        resolved(run, narrow)
    assert resolved(searched(run, params=222970), narrow)["space"]["shortcut"] == "A"
