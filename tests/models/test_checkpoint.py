"""Students and teachers: built from config files or of a search, saved and loaded."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from models_helpers import CONF, TINY, Json, files, of_space, read, searched, trained
from omegaconf import OmegaConf
from safetensors.torch import load_file
from torch.nn import functional as F

from diswot.checkpoint import (
    build_network,
    build_student,
    load_student,
    read_student,
    resolve_student,
    save_student,
)
from diswot.config import member_node
from diswot.errors import UserError
from diswot.models import Network
from diswot.models.outputs import Cost, count_flops, count_layers, count_params
from diswot.models.weights import untrained_classifier
from diswot.teaching import teacher_cost

IMAGES = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
TEACHERS = [file for file in files("teacher") if file.stem != "several"]  # no single network
FIXED = sorted({file.stem for file in (CONF / "student").glob("*.yaml")} - {"arch", "searched"})


def composed(*overrides: str) -> Json:
    """Only student and space, as the command line composes them."""
    node = {"defaults": ["_self_", {"space": None}, {"student": "resnet20"}], "seed": 0}
    ConfigStore.instance().store(name="only_student", node=node)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = OmegaConf.to_container(compose("only_student", list(overrides)), resolve=True)
    assert isinstance(config, dict)
    return {"space": None, **{str(key): value for key, value in config.items()}}


@pytest.mark.parametrize("file", TEACHERS, ids=lambda file: file.stem)
def test_every_teacher_builds_and_shows_its_inside(file: Path) -> None:
    spec = read(file)
    teacher = build_network(spec, "teacher", num_classes=5, in_channels=3).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        outputs, logits = teacher.outputs(images), teacher(images)
        classified = teacher.classifier(outputs.embedding)
    assert spec["name"].startswith(file.stem) or file.stem == "timm"  # that of a model
    assert spec["weights"] == "none"
    assert isinstance(teacher, Network)
    assert torch.equal(outputs.logits, logits)
    assert logits.shape == (2, 5)
    flops = count_flops(teacher, (3, 32, 32))
    cost = Cost(count_params(teacher), flops, count_layers(teacher))
    assert teacher_cost({**spec, "weights": "embedded"}, 5, (3, 32, 32)) == cost
    for before, after in zip(outputs.preactivations, outputs.stages, strict=True):
        linear = file.stem == "efficientnet_lite0"  # most of its stages end without activation
        ends = (before.relu(), F.relu6(before), before) if linear else (before.relu(),)
        assert any(torch.equal(end, after) for end in ends)
    torch.testing.assert_close(outputs.embedding, outputs.stages[-1].mean((2, 3)))
    torch.testing.assert_close(classified, logits)
    assert file.stem in FIXED, "a teacher can be taught too"


def test_a_resnet_padded_with_zeros_costs_less_than_one_with_projections() -> None:
    spec = read(CONF / "teacher" / "resnet8.yaml")
    padded = {**spec, "network": {**spec["network"], "shortcut": "A"}}
    costs = [teacher_cost(each, 10, (3, 32, 32)) for each in (spec, padded)]
    teacher = build_network(padded, "teacher", 10, 3)
    flops = count_flops(teacher, (3, 32, 32))
    assert costs[1] == Cost(count_params(teacher), flops, count_layers(teacher))
    assert costs[0].flops - flops == (16 * 32 + 32 * 64 // 4) * 16**2


@pytest.mark.parametrize("name", FIXED)
def test_every_fixed_student_builds(name: str) -> None:
    config = resolve_student(composed(f"student={name}"), [CONF])
    with torch.device("meta"):
        student = build_student(config["student"], config["space"], 5, 1)
    assert isinstance(student, Network)
    assert student.classifier.out_features == 5
    assert config["student"]["name"].startswith(name) or name == "timm"  # that of a model
    assert (config["student"]["weights"], config["space"]) == ("none", None)


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


@pytest.mark.parametrize("config", [None, of_space()], ids=["fixed", "arch"])
def test_round_trip(tmp_path: Path, config: Json | None) -> None:
    student = trained(tmp_path, config)
    before = torch.random.get_rng_state()
    loaded = load_student(tmp_path)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not loaded.training
    with torch.no_grad():
        assert torch.equal(loaded(IMAGES), student(IMAGES))
    assert load_file(tmp_path / "student.safetensors").keys() == student.state_dict().keys()
    assert {file.name for file in tmp_path.iterdir()} == {"student.json", "student.safetensors"}
    expected = {"name": "arch", "arch": "s0:1-1-1"} if config else {**TINY}
    expected.pop("weights", None)
    assert json.loads((tmp_path / "student.json").read_text())["student"] == expected


def test_equal_students_are_equal_files(tmp_path: Path) -> None:
    trained(tmp_path)
    first = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    student = load_student(tmp_path).to(memory_format=torch.channels_last)
    save_student(student, tmp_path, read_student(tmp_path))
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == first


def altered(run: Path, change: Callable[[Json], object]) -> str:
    """The message of loading after ``change`` was applied to ``student.json``."""
    description = json.loads((run / "student.json").read_text())
    change(description)
    (run / "student.json").write_text(json.dumps(description))
    with pytest.raises(UserError) as caught:
        load_student(run)
    assert str(caught.value).startswith(str(run / "student.json"))
    assert "\n" not in str(caught.value)
    return str(caught.value)


NINE = {"name": "arch", "arch": "s0:9-9-9"}


def network(**changes: object) -> Callable[[Json], object]:
    return lambda description: description["student"]["network"].update(changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (network(_target_=["os.system"]), "student names ['os.system']"),
        (network(_target_="os.system"), "student names 'os.system', which is in no config folder"),
        (network(_target_="diswot.data.npz.NpzData"), "student names 'diswot.data.npz.NpzData'"),
        (network(depths=[{"a": {"_target_": "os.getcwd"}}]), "student names 'os.getcwd'"),
        (network(shortcut="${oc.env:HOME}"), "student refers to '${oc.env:HOME}'"),
        (network(depths=[1, 1]), "network.widths: "),
        (network(depths=[1, 2, 1]), "does not fit the network: it lacks layer2.1"),
        (lambda d: d.update(space={"_target_": "os.system"}), "space names 'os.system'"),
        (lambda d: d.update(space=3), "is damaged (Expected `object | null`, got `int`"),
        (lambda d: d.update(schema=2), "is damaged (Invalid enum value 2 - at `$.schema`)"),
        (lambda d: d.update(num_classes=6), "classifies 5 classes, num_classes is 6"),
        (lambda d: d.update(num_classes=10**12), "is damaged (Expected `int` <= 1000000"),
        (lambda d: d.update(std=[0]), "mean and std must have a number"),
        (lambda d: d.pop("sha256"), "missing required field `sha256`"),
        (lambda d: d["student"].pop("network"), "either arch or network"),
        (lambda d: d["student"].update(arch="s0:1-1-1"), "either arch or network"),
        (lambda d: d.update(of_space("s0:9-9-9"), student=NINE), "'s0:9-9-9': depth of stage 1"),
        (lambda d: d.update(student=NINE), "space: none is given"),
    ],
)
def test_changed_descriptions(
    tmp_path: Path, change: Callable[[Json], object], message: str
) -> None:
    trained(tmp_path)
    assert message in altered(tmp_path, change)


@pytest.mark.parametrize("keep", [0.0, 0.999])
def test_truncated_weights(tmp_path: Path, keep: float) -> None:
    trained(tmp_path)
    path = tmp_path / "student.safetensors"
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(UserError, match="cut off or replaced"):
        load_student(tmp_path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert "may be damaged" in altered(tmp_path, lambda d: d.update(sha256=digest))


@pytest.mark.parametrize("name", ["student.json", "student.safetensors"])
def test_runs_that_have_not_finished(tmp_path: Path, name: str) -> None:
    trained(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(UserError, match=f"holds no {name}; give a run directory of diswot train"):
        load_student(tmp_path)


def test_students_of_further_config_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wide_words.py").write_text(
        "from diswot.models.resnet import CifarResNet\n\n\nclass Mine(CifarResNet):\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    node = {**TINY["network"], "_target_": "wide_words.Mine"}
    trained(tmp_path / "run", {"student": {**TINY, "network": node}, "space": None})
    with pytest.raises(UserError, match="give the folder of your plug-ins: --config-dir"):
        load_student(tmp_path / "run")
    (tmp_path / "conf" / "student").mkdir(parents=True)
    (tmp_path / "conf" / "student" / "mine.yaml").write_text("_target_: wide_words.Mine\n")
    loaded = load_student(tmp_path / "run", config_dir=tmp_path / "conf")
    assert type(loaded).__name__ == "Mine"


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_trained_students_teach_and_are_trained_on(tmp_path: Path, role: str) -> None:
    def rebuilt(classes: int = 5, **changes: object) -> Network:
        spec = {**TINY, "network": {**TINY["network"], **changes}, "weights": str(tmp_path)}
        return build_network(spec, role, classes, 1)

    student = trained(tmp_path)
    assert torch.equal(rebuilt().state_dict()["fc.weight"], student.state_dict()["fc.weight"])
    if role == "student":
        with pytest.raises(UserError, match=r"^student.weights: .* 5 classes, num_classes is 10"):
            rebuilt(10)
    else:
        headless = rebuilt(10)
        assert untrained_classifier(headless) == "classifies 5 classes, num_classes is 10"
        assert not headless.fc.weight.any()
        assert torch.equal(headless.conv1.weight, student.conv1.weight)
    with pytest.raises(UserError, match=f"^{role}.weights: .*lacks layer2.1.conv1.weight"):
        rebuilt(depths=[1, 2, 1])
    with pytest.raises(UserError, match=f"{role}.network.shortcut=A or B"):
        rebuilt(shortcut="A")


def resolved(run: Path, space: Json | None = None, **further: Any) -> Json:
    student = {"name": "searched", "weights": "none", "run": str(run), **further}
    return resolve_student({"student": student, "space": space}, [CONF])


@pytest.mark.parametrize("params", [225722, 226010], ids=["grey", "colour"])
@pytest.mark.parametrize("further", [{}, {"versions": {}, "_target_": "os.system"}])
def test_the_best_of_a_search(tmp_path: Path, params: int, further: Json) -> None:
    """Nothing else in the result is read."""
    run = searched(tmp_path, params=params, **further)
    config = resolved(run)
    expected = {"name": "searched", "weights": "none", "run": str(run), "arch": "s0:1-1-3"}
    assert config == {"student": expected, "space": member_node("space", "s0", [CONF])}
    assert build_student(config["student"], config["space"], 3, 1)(IMAGES).shape == (2, 3)


def test_another_place_of_a_search(tmp_path: Path) -> None:
    scored = {"score": 1.0, "parts": {}, "others": {}, "flops": 1}
    second = {**scored, "arch": "s0:1-1-1", "params": 78042}
    run = searched(tmp_path, top=[{**scored, "arch": "s0:1-1-3", "params": 226010}, second])
    assert [resolved(run, place=p)["student"]["arch"] for p in (1, 2)] == ["s0:1-1-3", "s0:1-1-1"]
    with pytest.raises(UserError, match=r"^student.place=3: .*the best 2 arch.*give at most 2$"):
        resolved(run, place=3)
    with pytest.raises(UserError, match=r"^student.place=0 is not allowed"):
        resolved(run, place=0)
    searched(tmp_path, top=[second, {**second, "params": 78043}])
    with pytest.raises(UserError, match=r"params is 78043, but s0:1-1-1 with 10 classes has 78042"):
        resolved(run, place=2)


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
    (tmp_path / "train" / "epochs.jsonl").touch()
    with pytest.raises(UserError, match="is the run of a training; give that of a search"):
        resolved(tmp_path / "train")


def test_spaces_that_are_given_must_be_the_searchs(tmp_path: Path) -> None:
    run = searched(tmp_path)
    with pytest.raises(UserError, match=r"^space=s1: .* is of s0; give space=s0"):
        resolved(run, member_node("space", "s1", [CONF]))
    narrow = {**member_node("space", "s0", [CONF]), "shortcut": "A"}
    with pytest.raises(UserError, match="settings of space s0 changed, give the same ones here"):
        resolved(run, narrow)
    assert resolved(searched(run, params=222970), narrow)["space"]["shortcut"] == "A"
