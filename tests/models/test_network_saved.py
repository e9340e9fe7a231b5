"""Saving a trained student and loading it, also from files that somebody changed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from student_helpers import TINY, Json, trained

from diswot.config import conf_dir
from diswot.errors import UserError
from diswot.models.student import load_student, read_student, save_student
from diswot.spaces.by_name import space_node

IMAGES = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def of_space() -> Json:
    spec = {"name": "arch", "arch": "s0:1-1-1", "weights": "none"}
    return {"student": spec, "space": space_node("s0", [conf_dir()])}


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
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "student.json",
        "student.safetensors",
    ]


def test_equal_students_are_equal_files(tmp_path: Path) -> None:
    trained(tmp_path)
    first = (tmp_path / "student.safetensors").read_bytes()
    student, told = load_student(tmp_path), read_student(tmp_path)
    student = student.to(memory_format=torch.channels_last)
    save_student(student, tmp_path, told)
    assert (tmp_path / "student.safetensors").read_bytes() == first
    assert read_student(tmp_path) == told


def test_a_full_disk_leaves_the_old_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    student = trained(tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    told = read_student(tmp_path)
    torch.nn.init.zeros_(student.state_dict()["fc.weight"])
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_student(student, tmp_path, told)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def altered(run: Path, change: Callable[[Json], object]) -> str:
    """What loading says after ``change`` was applied to ``student.json``."""
    told = json.loads((run / "student.json").read_text())
    change(told)
    (run / "student.json").write_text(json.dumps(told))
    with pytest.raises(UserError) as caught:
        load_student(run)
    assert str(caught.value).startswith(str(run / "student.json"))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def network(**changes: object) -> Callable[[Json], object]:
    return lambda told: told["student"]["network"].update(changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (network(_target_="os.system"), "student names 'os.system', which no config folder names"),
        (network(_target_="diswot.data.npz.NpzData"), "student names 'diswot.data.npz.NpzData'"),
        (network(_target_=["os.system"]), "student names ['os.system']"),
        (network(depths={"_target_": "os.getcwd"}), "student names 'os.getcwd'"),
        (network(depths=[{"a": {"_target_": "os.getcwd"}}]), "student names 'os.getcwd'"),
        (network(_args_=[1]), "student holds _args_"),
        (network(_partial_={"a": {}}), "student holds _partial_"),
        (network(shortcut="${oc.env:HOME}"), "student refers to '${oc.env:HOME}'"),
        (network(depths=[1, 1]), "network.widths: "),
        (network(depths=[1, 2, 1]), "does not fit the network: it lacks layer2.1"),
        (lambda told: told.update(space={"_target_": "os.system"}), "space names 'os.system'"),
        (lambda told: told.update(space=3), "space is 3"),
        (lambda told: told.update(schema=2), "schema is 2, it must be 1"),
        (lambda told: told.update(num_classes=6), "classifies 5 classes, num_classes is 6"),
        (lambda told: told.update(num_classes=10**12), "num_classes=1000000000000 is not allowed"),
        (lambda told: told.update(in_channels=True), "in_channels=True is not allowed"),
        (lambda told: told.update(std=[0]), "std=[0] is not allowed"),
        (lambda told: told.update(mean=["a"]), "mean=['a'] is not allowed"),
        (lambda told: told.pop("sha256"), "sha256 is None"),
        (lambda told: told["student"].pop("network"), "either arch, a text, or network"),
        (lambda told: told["student"].update(arch="s0:1-1-1"), "either arch, a text, or network"),
        (lambda told: told.update(student={"arch": 3}), "either arch, a text, or network"),
    ],
)
def test_changed_descriptions(
    tmp_path: Path, change: Callable[[Json], object], message: str
) -> None:
    trained(tmp_path)
    assert message in altered(tmp_path, change)


def test_architectures_that_are_not_of_the_space(tmp_path: Path) -> None:
    trained(tmp_path, of_space())
    assert "s0:9-9-9" in altered(tmp_path, lambda told: told["student"].update(arch="s0:9-9-9"))
    assert "space: none is given" in altered(tmp_path, lambda told: told.update(space=None))


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.999])
@pytest.mark.parametrize("known", [False, True], ids=["cut off", "with its own checksum"])
def test_truncated_weights(tmp_path: Path, keep: float, known: bool) -> None:
    trained(tmp_path)
    path = tmp_path / "student.safetensors"
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    if known:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert "may be damaged" in altered(tmp_path, lambda told: told.update(sha256=digest))
    else:
        with pytest.raises(UserError, match="cut off or replaced"):
            load_student(tmp_path)


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
    with pytest.raises(UserError, match="give the folder of your plug-ins as config_dir"):
        load_student(tmp_path / "run")
    (tmp_path / "conf" / "student").mkdir(parents=True)
    (tmp_path / "conf" / "student" / "mine.yaml").write_text("_target_: wide_words.Mine\n")
    loaded = load_student(tmp_path / "run", config_dir=tmp_path / "conf")
    assert type(loaded).__name__ == "Mine"
