"""Wrong input to ``diswot train``: one line, exit code 2, nothing half-written."""

from functools import partial
from pathlib import Path

import pytest
import torch
from cli_helpers import Cli, Ended
from cli_helpers import refused as refused_by

from diswot.models.resnet import CifarResNet

SMALL = [
    *("data=gaussian", "data.length=64", "data.batch_size=32", "data.image_size=8"),
    *("protocol.max_epochs=2", "device=cpu", "hydra.run.dir=run"),
]
TEACHER = ["teacher=resnet8", "teacher.network.widths=[4,4,8,8]", "teacher.weights=teacher.pt"]
STUDENT = ["student=resnet8", "student.network.widths=[4,4,8,8]"]


refused = partial(refused_by, command="train")


@pytest.fixture
def cli(command: Cli) -> Cli:
    """``diswot train`` beside a teacher's weights."""
    for name, classes in (("teacher.pt", 10), ("five.pt", 5)):
        network = CifarResNet([1, 1, 1], [4, 4, 8, 8], num_classes=classes)
        torch.save(network.state_dict(), name)

    def run(*words: str) -> Ended:
        student = [] if any(word.startswith("student") for word in words) else STUDENT
        teacher = [] if "teacher=none" in words else TEACHER
        return command("train", *SMALL, *student, *teacher, *words)

    return run


ADAM = "protocol.optimizer._target_=torch.optim.Adam"
BAD = {
    "teacher.weights=none": ("teacher.weights=none", "untrained resnet8", "distiller=none"),
    "teacher=none": ("teacher=none", "kd", "distiller=none"),
    "teacher.weights=nowhere.pt": ("teacher.weights", "no file nowhere.pt"),
    "teacher.weights=.": ("teacher.weights", "student.safetensors"),
    "teacher.network.depths=[1,1,2]": ("teacher.weights", "does not fit", "layer3"),
    "teacher.weights=five.pt": ("teacher.weights", "classifies 5 classes", "num_classes is 10"),
    "data.batch_size=65": ("data.batch_size=65", "64 images", "at most 64"),
    "protocol.validation=0.8": ("data.batch_size=32", "13 images", "at most 13"),
    "protocol.optimizer.lr=-1": ("protocol.optimizer", "learning rate: -1"),
    "+protocol.optimizer.momentumm=1": ("protocol.optimizer", "momentumm"),
    "protocol.optimizer._target_=torch.optim.SGDD": ("protocol.optimizer", "SGDD"),
    ADAM: ("protocol.optimizer", "torch.optim.Adam", "momentum"),
    "protocol.schedule._target_=diswot.training.schedules.cosin": ("protocol.schedule", "cosin"),
    "+protocol.schedule.gama=1": ("protocol.schedule", "gama"),
    "protocol.schedule.warmup=2": ("protocol.schedule.warmup=2", "protocol.max_epochs=2"),
    "protocol.schedule.final=2": ("protocol.schedule.final=2", "from 0 to 1"),
    "protocol=crd protocol.max_epochs=100": ("protocol.schedule.milestones", "below 100"),
    "protocol.mixup=-1": ("protocol.mixup=-1", "at least 0"),
    "protocol.ema=1": ("protocol.ema=1", "from 0 to 0.999999"),
    "protocol.augment.pad=-1": ("protocol.augment.pad=-1", "at least 0"),
    "distiller=dkd protocol.mixup=1": ("distiller dkd", "protocol.mixup", "protocol.cutmix"),
    "distiller=fitnet distiller.fitnet.stage=9": ("distiller.fitnet.stage=9", "1 to"),
    "student=bogus": ("student/bogus", "resnet20"),
    "space=s0": ("space=s0", "fixed network"),
    "precision=8": ("precision=8", "32-true"),
    "protocol.teacher_cache.views=2 distiller=at": ("protocol.teacher_cache.views=2", "views=0"),
    "protocol.teacher_cache.views=2 protocol.mixup=1": ("protocol.teacher_cache.views=2", "mixed"),
    "protocol.teacher_cache.views=3": ("protocol.teacher_cache.views=3", "protocol.max_epochs=2"),
    "protocol.teacher_cache=3": ("protocol.teacher_cache=3", "views, dir"),
    "trainer.devices=3": ("trainer.devices=3", "data.batch_size=32", "for 2 of them"),
    "protocol.optimizer.lr=nan": ("protocol.optimizer.lr=nan", "finite"),
    "protocol.augment=3": ("protocol.augment=3", "_target_"),
    "distiller.kd=3": ("distiller.kd=3", "_target_"),
    "~protocol.ema": ("protocol.ema is left out",),
    "+protocol.foo=1": ("protocol.foo is not a setting", "label_smoothing"),
    "precision=16-mixed": ("precision=16-mixed", "bf16-mixed"),
}


@pytest.mark.parametrize("overrides", BAD)
def test_one_message(cli: Cli, tmp_path: Path, overrides: str) -> None:
    message = refused(cli(*overrides.split()))
    for part in BAD[overrides]:
        assert part in message
    assert {path.name for path in tmp_path.iterdir()} <= {"teacher.pt", "five.pt", "run"}
    assert [path for path in tmp_path.glob("run/*") if path.name != "run.lock"] == []


def test_another_config_in_the_same_folder(cli: Cli, tmp_path: Path) -> None:
    assert cli().code == 0
    before = {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()}
    message = refused(cli("distiller.kd.temperature=2", "seed=1"))
    for part in ("another config", "distiller.kd.temperature: 4", "seed: 0 → 1", "hydra.run.dir"):
        assert part in message
    assert {f.name: f.read_bytes() for f in (tmp_path / "run").iterdir()} == before
