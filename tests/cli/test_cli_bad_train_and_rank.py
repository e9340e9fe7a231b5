"""Wrong input to ``diswot train`` and ``rank``: one message, exit code 2, nothing half-written."""

from functools import partial
from pathlib import Path

import pytest
import torch
from cli_helpers import Cli, Ended, refused

from diswot.models.resnet import CifarResNet

SMALL = [
    *("data=gaussian", "data.length=64", "data.batch_size=32", "data.image_size=8"),
    *("protocol.max_epochs=2", "device=cpu", "hydra.run.dir=run"),
]
TEACHER = ["teacher=resnet8", "teacher.network.widths=[8,8,16,16]", "teacher.weights=teacher.pt"]
STUDENT = ["student=resnet8", "student.network.widths=[8,8,16,16]"]


refused_rank = partial(refused, command="rank")
refused_train = partial(refused, command="train")


@pytest.fixture
def train(command: Cli) -> Cli:
    """``diswot train`` beside a teacher's weights."""
    for name, classes in (("teacher.pt", 10), ("five.pt", 5)):
        network = CifarResNet([1, 1, 1], [8, 8, 16, 16], num_classes=classes)
        torch.save(network.state_dict(), name)

    def run(*words: str) -> Ended:
        student = [] if any(word.startswith("student") for word in words) else STUDENT
        teacher = [] if "teacher=none" in words else TEACHER
        return command("train", *SMALL, *student, *teacher, *words)

    return run


ADAM = "protocol.optimizer._target_=torch.optim.Adam"
BAD_TRAININGS = {
    "teacher.weights=none": ("teacher.weights=none", "untrained resnet8", "distiller=none"),
    "teacher=none": ("teacher=none", "kd", "distiller=none"),
    "teacher=none distiller=[byot,kd]": ("teacher=none", "distiller kd learns"),
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
    "protocol.schedule.warmup=3": ("protocol.schedule.warmup=3", "protocol.max_epochs=2"),
    "protocol.schedule.final=2": ("protocol.schedule.final=2", "from 0 to 1"),
    "protocol=crd protocol.max_epochs=100 protocol.schedule.milestones=[150]": (
        "protocol.schedule.milestones",
        "below 100",
    ),
    "protocol.mixup=-1": ("protocol.mixup=-1", "at least 0"),
    "protocol.augment.pad=-1": ("protocol.augment.pad=-1", "at least 0"),
    "distiller=dkd protocol.mixup=1": ("distiller dkd", "protocol.mixup", "protocol.cutmix"),
    "distiller=fitnet distiller.fitnet.stage=9": ("distiller.fitnet.stage=9", "1 to"),
    "student=bogus": ("student=bogus", "resnet20"),
    "space=s0": ("space=s0", "fixed network"),
    "precision=8": ("precision=8", "32-true"),
    "protocol.teacher_cache.views=2 distiller=at": ("protocol.teacher_cache.views=2", "views=0"),
    "protocol.teacher_cache.views=2 protocol.mixup=1": ("protocol.teacher_cache.views=2", "mixed"),
    "protocol.teacher_cache.views=3": ("protocol.teacher_cache.views=3", "protocol.max_epochs=2"),
    "protocol.teacher_cache.views=2 protocol.teacher_cache.dir=five.pt": (
        *("protocol.teacher_cache.dir=five.pt", "File exists", "give a folder"),
    ),
    "protocol.teacher_cache=3": ("protocol.teacher_cache=3", "views, dir"),
    "trainer.devices=2 data.batch_size=64": ("trainer.devices=2", "=64", "for 1 of them"),
    "protocol.optimizer.lr=nan": ("protocol.optimizer.lr=nan", "finite"),
    "protocol.augment=3": ("protocol.augment=3", "_target_"),
    "distiller.kd=3": ("distiller.kd=3", "_target_"),
    "~protocol.ema": ("protocol.ema is left out",),
    "+protocol.foo=1": ("protocol.foo is not a setting", "label_smoothing"),
    "precision=16-mixed": ("precision=16-mixed", "bf16-mixed"),
}


@pytest.mark.parametrize("overrides", BAD_TRAININGS)
def test_one_message_of_a_training(train: Cli, tmp_path: Path, overrides: str) -> None:
    message = refused_train(train(*overrides.split()))
    for part in BAD_TRAININGS[overrides]:
        assert part in message
    assert {path.name for path in tmp_path.iterdir()} <= {"teacher.pt", "five.pt", "run"}
    assert [path for path in tmp_path.glob("run/*") if path.name != "run.lock"] == []


def test_another_config_of_a_training_in_the_same_folder(train: Cli, tmp_path: Path) -> None:
    assert train().code == 0
    before = {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()}
    message = refused_train(train("distiller.kd.temperature=2", "seed=1"))
    for part in ("another config", "distiller.kd.temperature: 4", "seed: 0 → 1", "hydra.run.dir"):
        assert part in message
    assert {f.name: f.read_bytes() for f in (tmp_path / "run").iterdir()} == before


TINY = [
    *("space=s0", "teacher=resnet8", "proxy=nwot", "data=gaussian", "data.image_size=16"),
    *("data.batch_size=6", "benchmark.sample=5", "device=cpu", "workers=1"),
]


@pytest.fixture
def rank(command: Cli) -> Cli:
    """``diswot rank``."""
    return partial(command, "rank")


def left(folder: Path) -> list[Path]:
    """Files, and run directories."""
    return [path for path in folder.rglob("*") if path.is_file() or path.parent.name == "rank"]


CSV = "benchmark=nasbench201 space=nasbench201"

BAD_RANKINGS = {
    "benchmark=bogus": ("there is no benchmark bogus", "nasbench201, pit, s0"),
    "space=s2": (
        "there is no benchmark s2",
        "accuracies are known of autoformer, nasbench201, pit, s0",
    ),
    "space=s1 benchmark=s0": ("benchmark=s0", "space s0, not of s1", "give space=s0 or another"),
    "space.depths=[1,3]": ("space s0 allows 1, 3", "must hold every architecture", "benchmark"),
    "benchmark.sample=65": ("benchmark.sample=65", "has 64 architectures", "null for all"),
    "benchmark.sample=1": ("benchmark.sample=1 is not allowed", "at least 2"),
    "benchmark.datasets=[cifar10]": ("benchmark.datasets=['cifar10']", "knows cifar100"),
    "+benchmark.path=x.csv": ("benchmark.path: x.csv cannot be used", "No such file"),
    f"{CSV} benchmark.source=foo": ("benchmark.source=foo", "auto, csv, nats_bench, analog"),
    f"{CSV} benchmark.path=no.csv": ("benchmark.path: no.csv", ".csv or .csv.gz"),
    f"{CSV} benchmark.path=no.txt": ("benchmark.path: no.txt", ".csv, .csv.gz nor NATS"),
    "proxy=snip num_classes=5": ("num_classes=5: gaussian has labels of 10", "snip", "at least 10"),
    "proxy=diswot teacher=none": ("teacher=none", "diswot", "teacher=resnet56"),
    "seeds=0": ("seeds=0 is not allowed; give a whole number of at least 1",),
    "seed=x": ("seed=x is not allowed", "at least 0"),
    "shard=5/4": ("shard=5/4 is not allowed; give i/n with i from 1 to n",),
    "shard=6/6": ("shard=6/6: there are 5 architectures", "at most as many shards"),
    "control=foo": ("control=foo: allowed are none, shuffled",),
    "resamples=0": ("resamples=0 is not allowed", "at least 1"),
    "debug=maybe": ("debug=maybe is not allowed; give true or false",),
    "strategy=random": ("strategy",),
    "merge=nowhere": ("merge: nowhere does not exist", "holds the shards' folders"),
    "merge=nowhere seeds=7": ("takes its settings from the shards", "allowed beside it are"),
    "space.widths=[4,4,8,16]": ("benchmark=s0 holds for space.widths=[16, 16, 32, 64]", "other"),
    "~teacher": ("teacher: none is given", "--help"),
    "benchmark.datasets=5": ("benchmark.datasets=5 is not allowed; give a list of names",),
}


@pytest.mark.parametrize("overrides", BAD_RANKINGS)
def test_one_message_of_a_ranking(rank: Cli, tmp_path: Path, overrides: str) -> None:
    beside = [] if "merge=" in overrides and "seeds" not in overrides else TINY
    message = refused_rank(rank(*beside, *overrides.split()))
    for part in BAD_RANKINGS[overrides]:
        assert part in message
    assert left(tmp_path) == []


def test_what_was_there_stays(rank: Cli, tmp_path: Path) -> None:
    notes = tmp_path / "run" / "notes"
    notes.parent.mkdir()
    notes.write_text("mine")
    assert "notes is not a folder; give the folder that" in refused_rank(rank("merge=run/notes"))
    refused_rank(rank(*TINY, "hydra.run.dir=run", "seeds=0"))
    refused_rank(rank("teacher=none", "proxy=params", "~benchmark", "hydra.run.dir=run"))
    refused_rank(rank(*TINY, "hydra.run.dir=run", "proxy=diswot", "teacher=none"))
    assert left(tmp_path) == [notes]
    assert notes.read_text() == "mine"


def test_a_sweep_with_a_failing_job(rank: Cli, tmp_path: Path) -> None:
    small = [*TINY, "proxy=params", "resamples=5"]
    ended = rank("-m", *small, "shard=1/2,3/2", "hydra.sweep.dir=parts")
    assert ended.code == 2
    assert "shard=3/2 is not allowed" in ended.err
    assert "Traceback" not in ended.err
    assert len(list((tmp_path / "parts").glob("*/*/scores.jsonl"))) == 1  # the other is not lost
    assert "shard 2/2 is missing" in refused_rank(rank("merge=parts"))
