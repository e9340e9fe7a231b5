"""Students of the config group, and those that a search found, whoever changed its result."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf
from student_helpers import RESULT, TINY, Json, searched, trained

from diswot.config import conf_dir
from diswot.errors import UserError
from diswot.models import Network
from diswot.models.build import build_network
from diswot.models.student import build_student, resolve_student
from diswot.spaces.by_name import space_node

CONF = conf_dir()
MEMBERS = sorted(file.stem for file in (CONF / "student").glob("*.yaml"))
FIXED = [name for name in MEMBERS if name not in ("arch", "searched")]
FOUND: Json = {"name": "searched", "weights": "none"}


def composed(*overrides: str) -> Json:
    """Only student and space, as the command line composes them."""
    node = {"defaults": ["_self_", {"space": None}, {"student": "resnet20"}], "seed": 0}
    ConfigStore.instance().store(name="only_student", node=node)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = OmegaConf.to_container(compose("only_student", list(overrides)), resolve=True)
    assert isinstance(config, dict)
    return {"space": None, **{str(key): value for key, value in config.items()}}


@pytest.mark.parametrize("name", FIXED)
def test_every_fixed_student_builds(name: str) -> None:
    config = resolve_student(composed(f"student={name}"), [CONF])
    with torch.device("meta"):
        student = build_student(config["student"], config["space"], 5, 1)
    assert isinstance(student, Network)
    assert student.classifier.out_features == 5
    assert config["student"]["name"].startswith(name)
    assert config["student"]["weights"] == "none"
    assert config["space"] is None
    assert (CONF / "student" / f"{name}.yaml").read_text().startswith("# ")


def test_every_teacher_can_be_taught() -> None:
    teachers = {file.stem for file in (CONF / "teacher").glob("*.yaml")} - {"none"}
    assert teachers < set(FIXED)


def test_settings_of_a_student_are_not_the_teachers() -> None:
    config = composed("student=resnet20", "student.network.shortcut=A")
    assert config["student"]["network"]["shortcut"] == "A"


def test_architectures_of_a_space() -> None:
    config = composed("space=s0", "student=arch", "student.arch=s0:1-3-5")
    resolved = resolve_student(config, [CONF])
    assert resolved["space"]["name"] == "s0"
    student = build_student(resolved["student"], resolved["space"], 7, 1)
    assert student(torch.randn(2, 1, 8, 8)).shape == (2, 7)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["student=arch", "student.arch=s0:1-3-5"], "^space: none is given; student=arch needs"),
        (["student=arch", "space=s0"], "^student.arch: not given; give the text of .* of s0$"),
        (["student=arch", "space=s0", "student.arch=s0:2-3-5"], "^student.arch: .*s0:2-3-5"),
        (["student=arch", "space=s0", "student.arch=3"], "^student.arch: "),
        (["space=s0"], "^space=s0: student=resnet20 is a fixed network"),
        (["student=searched"], "^student.run: not given"),
        (["student=searched", "student.run=/absent"], "^student.run: /absent does not exist"),
    ],
)
def test_students_that_are_not_all_there(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        resolve_student(composed(*overrides), [CONF])


def resolved(run: Path, space: Json | None = None) -> Json:
    return resolve_student({"student": {**FOUND, "run": str(run)}, "space": space}, [CONF])


@pytest.mark.parametrize(
    "changes", [{}, {"params": 226010, "top": [{**RESULT["top"][0], "params": 226010}]}]
)
@pytest.mark.parametrize("further", [{}, {"versions": {}, "_target_": "os.system"}])
def test_what_a_search_found(tmp_path: Path, changes: Json, further: Json) -> None:
    """Grey or colour images; nothing else in the result is read."""
    run = searched(tmp_path, **changes, **further)
    config = resolved(run)
    assert config["student"] == {**FOUND, "run": str(run), "arch": "s0:1-1-3"}
    assert config["space"] == space_node("s0", [CONF])
    student = build_student(config["student"], config["space"], 3, 3)
    assert student(torch.randn(2, 3, 8, 8)).shape == (2, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 2}, "schema is 2, it must be 1"),
        ({"schema": None}, "schema is None"),
        ({"space": {"_target_": "os.system"}}, "space is .*must be a text"),
        ({"space": "../teacher/resnet20"}, "no space '../teacher/resnet20'; spaces are: nasb"),
        ({"space": "s9"}, "there is no space 's9'; spaces are: nasbench201, s0, s1, s2"),
        ({"space": "s1"}, "'s0:1-1-3' is not of space s1"),
        ({"arch": 3}, "arch is 3, it must be a text"),
        ({"arch": "s0:1-1-1"}, "arch is 's0:1-1-1', but the first of top has 's0:1-1-3'"),
        (
            {"arch": "s0:1-1-8", "top": [{"arch": "s0:1-1-8", "params": 225722}]},
            "is damaged .*s0:1-1-8",
        ),
        (
            {"arch": "s0:1-1-03", "top": [{"arch": "s0:1-1-03", "params": 225722}]},
            "is damaged .*'s0:1-1-03' is not in canonical form",
        ),
        ({"params": 225723}, "params is 225723, but the first of top has 225722"),
        (
            {"params": 225723, "top": [{"arch": "s0:1-1-3", "params": 225723}]},
            "params is 225723, but s0:1-1-3 with 10 classes has 226010 or 225722",
        ),
        ({"params": 225722.0}, "params is 225722.0, it must be a whole number"),
        ({"params": True}, "params is True, it must be a whole number"),
        ({"num_classes": 11}, "with 11 classes has 226075 or 225787"),
        ({"num_classes": 10**30}, "num_classes is 1000+, it must be a whole number from 2 to"),
        ({"in_channels": 3}, "has 226010; if the search had settings of space s0 changed"),
        ({"top": []}, "top must list the best candidates"),
        ({"top": ["s0:1-1-3"]}, "top must list the best candidates"),
        ({"top": None}, "top must list the best candidates"),
    ],
)
def test_tampered_results(tmp_path: Path, changes: Json, message: str) -> None:
    run = searched(tmp_path, **changes)
    with pytest.raises(UserError, match=message) as caught:
        resolved(run)
    assert str(caught.value).startswith(str(run / "result.json"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", '{"schema": 1', "\xff"])
def test_results_that_are_no_json(tmp_path: Path, text: str) -> None:
    (tmp_path / "result.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"result.json is damaged .*run the same search again"):
        resolved(tmp_path)


def test_searches_that_have_not_finished(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no result.json; give the run directory"):
        resolved(tmp_path)
    (tmp_path / "candidates.jsonl").touch()
    with pytest.raises(UserError, match=r"has not finished.*run its command again"):
        resolved(tmp_path)
    with pytest.raises(UserError, match="is a file"):
        resolved(tmp_path / "candidates.jsonl")


def test_spaces_that_are_given_must_be_the_searchs(tmp_path: Path) -> None:
    run = searched(tmp_path)
    with pytest.raises(UserError, match=r"^space=s1: .* was found in space s0; give space=s0"):
        resolved(run, space_node("s1", [CONF]))
    narrow = {**space_node("s0", [CONF]), "shortcut": "A"}
    with pytest.raises(UserError, match="settings of space s0 changed, give the same ones here"):
        resolved(run, narrow)
    params = {"params": 222970, "top": [{"arch": "s0:1-1-3", "params": 222970}]}
    assert resolved(searched(run, **params), narrow)["space"]["shortcut"] == "A"


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_trained_students_teach_and_are_trained_on(tmp_path: Path, role: str) -> None:
    student = trained(tmp_path)
    again = build_network({**TINY, "weights": str(tmp_path)}, role, 5, 1)
    assert torch.equal(again.state_dict()["fc.weight"], student.state_dict()["fc.weight"])
    with pytest.raises(UserError, match=f"^{role}.weights: .* 5 classes, num_classes is 10"):
        build_network({**TINY, "weights": str(tmp_path)}, role, 10, 1)
    other: Json = {**TINY, "network": {**TINY["network"], "depths": [1, 2, 1]}}
    with pytest.raises(UserError, match=f"^{role}.weights: .*lacks layer2.1.conv1.weight"):
        build_network({**other, "weights": str(tmp_path)}, role, 5, 1)
    zero: Json = {**TINY, "network": {**TINY["network"], "shortcut": "A"}}
    with pytest.raises(UserError, match=f"{role}.network.shortcut=A or B"):
        build_network({**zero, "weights": str(tmp_path)}, role, 5, 1)


def test_weights_of_another_architecture(tmp_path: Path) -> None:
    space = space_node("s0", [CONF])
    spec = {"name": "arch", "arch": "s0:1-1-1", "weights": "none"}
    trained(tmp_path, {"student": spec, "space": space})
    build_student({**spec, "weights": str(tmp_path)}, space, 5, 1)
    with pytest.raises(UserError, match=r"^student.weights: .*lacks layer1.1"):
        build_student({**spec, "arch": "s0:3-1-1", "weights": str(tmp_path)}, space, 5, 1)
    with pytest.raises(UserError, match="space: none is given"):
        build_student(spec, None, 5, 1)


def test_a_saved_student_says_what_it_is(tmp_path: Path) -> None:
    trained(tmp_path)
    assert json.loads((tmp_path / "student.json").read_text())["student"] == {
        "name": "tiny",
        "network": TINY["network"],
    }
