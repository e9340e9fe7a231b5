"""Modules and images given from Python stand for what a config would name."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import diswot
from diswot import given
from diswot.checkpoint import build_network
from diswot.commands import compose
from diswot.errors import UserError

DOCS = Path(__file__).parents[2] / "docs"
SMALL = ["data.batch_size=16"]
ONE_EPOCH = ["data.batch_size=32", "protocol.max_epochs=1", "protocol.schedule.warmup=0"]


class Net(nn.Module):
    """What a user may have: no common base, a dropout, functions between the layers."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.stem = self.block(3, 8)
        self.body = nn.Sequential(self.block(8, 8, 2), self.block(8, 16))
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(16, classes)

    @staticmethod
    def block(width_in: int, width_out: int, stride: int = 1) -> nn.Sequential:
        conv = nn.Conv2d(width_in, width_out, 3, stride, 1, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(width_out), nn.ReLU(inplace=True))

    def forward(self, images: Tensor) -> Tensor:
        maps = self.body(self.stem(images))
        return self.head(self.drop(maps.mean((2, 3))))


class Photos(Dataset[Any]):
    """PIL images, as torchvision's data sets give them without a transform."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images.permute(0, 2, 3, 1).numpy(), labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, place: int) -> tuple[Image.Image, int]:
        return Image.fromarray(self.images[place]), int(self.labels[place])


class Stream(IterableDataset[Any]):
    def __init__(self, pairs: Any) -> None:
        self.pairs = pairs

    def __iter__(self) -> Any:
        return (self.pairs[place] for place in range(len(self.pairs)))


def net(seed: int = 0, classes: int = 4) -> Net:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Net(classes)


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (96, 3, 16, 16), generator=draw, dtype=torch.uint8)


LABELS = torch.arange(96) % 4


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch, known_costs: None) -> None:
    monkeypatch.setattr("diswot.reporting.search.plot_search", lambda *_: None)


def score(**settings: Any) -> diswot.Score:
    return diswot.score_arch("s0:1-1-1", **{"space": "s0", "overrides": SMALL, **settings})


def test_objects_score_as_what_they_stand_for(pixels: Tensor, tmp_path: Path) -> None:
    spec = {**compose("search", ["teacher=resnet8"], None)["teacher"], "weights": "none"}
    with torch.random.fork_rng():
        torch.manual_seed(1)
        teacher = build_network(spec, "teacher", 4, 3)
    save_file(teacher.state_dict(), tmp_path / "teacher.safetensors")
    some = {"x_train": pixels, "y_train": LABELS, "x_test": pixels, "y_test": LABELS}
    np.savez(tmp_path / "data.npz", **{name: array.numpy() for name, array in some.items()})
    files = [f"teacher.weights={tmp_path}/teacher.safetensors", f"data.path={tmp_path}/data.npz"]
    proxies = ["diswot", "kd", "nwot"]
    named = score(teacher="resnet8", data="npz", proxy=proxies, overrides=[*SMALL, *files])
    assert score(teacher=teacher, data=(pixels, LABELS), proxy=proxies) == named


def test_images_come_in_many_forms(pixels: Tensor) -> None:
    pairs = TensorDataset(pixels.float() / 255, LABELS)
    state = torch.random.get_rng_state()
    images = [
        (pixels.permute(0, 2, 3, 1).numpy(), LABELS.tolist()),
        pairs,
        DataLoader(pairs, batch_size=7, shuffle=True),
        DataLoader(Stream(pairs), batch_size=7),
        Photos(pixels, LABELS),
    ]
    first = score(teacher=net(), data=(pixels, LABELS))
    assert all(score(teacher=net(), data=each) == first for each in images)
    assert torch.equal(torch.random.get_rng_state(), state)
    sampler = torch.utils.data.SubsetRandomSampler(range(0, 96, 3))
    batches = torch.utils.data.BatchSampler(sampler, 8, drop_last=False)
    for part in (DataLoader(pairs, sampler=sampler), DataLoader(pairs, batch_sampler=batches)):
        assert score(teacher=net(), data=part) == score(
            teacher=net(), data=(pixels[::3], LABELS[::3].clone())
        )
    grey = score(teacher="resnet8", data=(pixels[:, 0], LABELS))
    assert grey == score(teacher="resnet8", data=(pixels[:, :1], LABELS))


@pytest.mark.slow
def test_a_search_goes_on_with_equal_objects_only(pixels: Tensor, tmp_path: Path) -> None:
    settings: Any = {"space": "s0", "data": (pixels, LABELS), "run_dir": tmp_path, "budget": 1e5}
    settings |= {"strategy": "random", "workers": 2, "proxy": "diswot"}
    few = ["strategy.evaluations=3", "strategy.generation=3", "budget.flops=null"]
    settings["overrides"] = [*SMALL, *few]
    found = diswot.find_student(teacher=net(), **settings)
    assert found.params <= 1e5
    assert (found.summary["teacher"], found.summary["data"]) == ("Net", "arrays")
    same: Any = {"space": "s0", "data": (pixels, LABELS), "overrides": SMALL}
    assert found.score == diswot.score_arch(found.arch, teacher=net(), **same).value
    kept = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert kept["teacher"]["network"]["stages"] == ["stem", "body"]
    again = diswot.find_student(teacher=net(), **settings)
    assert again.summary == found.summary
    assert repr(again) == (
        f"SearchResult(arch={found.arch!r}, score={found.score!r}, params={found.params}, "
        f"flops={found.flops})"
    )
    with pytest.raises(UserError, match=r"another config \(teacher\.network\.sha256"):
        diswot.find_student(teacher=net(seed=1), **settings)
    with pytest.raises(UserError, match=r"another config \(data\.sha256"):
        diswot.find_student(teacher=net(), **{**settings, "data": (255 - pixels, LABELS)})


@pytest.mark.slow
def test_modules_teach_and_are_taught(pixels: Tensor, tmp_path: Path) -> None:
    teacher, student = net().requires_grad_(False), net(seed=1)
    before = copy.deepcopy([teacher.state_dict(), student.state_dict()])
    images: Any = {"data": (pixels, LABELS), "test_data": (pixels[:40], LABELS[:40])}
    settings: Any = {**images, "overrides": ONE_EPOCH, "run_dir": tmp_path}
    settings["distiller"] = ["kd", "at"]
    trained = diswot.train_student((student, ["body"]), teacher=teacher, **settings)
    after = [teacher.state_dict(), student.state_dict()]
    for old, new in zip(before, after, strict=True):
        assert all(torch.equal(old[name], new[name]) for name in old)
    assert isinstance(trained.student, Net)
    assert not trained.student.training
    assert not torch.equal(trained.student.head.weight, student.head.weight)
    normalised = trained_on(pixels[:40])
    right = (trained.student(normalised).argmax(1) == LABELS[:40]).float().mean()
    assert trained.test_top1 == pytest.approx(100 * right.item())
    assert repr(trained).startswith("TrainResult(test_top1=")
    assert len(repr(trained)) < 100
    student.load_state_dict(load_file(tmp_path / "student.safetensors"))
    with pytest.raises(UserError, match=r"a module given from Python.*load_file"):
        diswot.load_student(tmp_path)
    again = diswot.train_student((net(seed=1), ["body"]), teacher=teacher, **settings)
    assert torch.equal(again.student(normalised), trained.student(normalised))


def trained_on(pixels: Tensor) -> Tensor:
    """Images as a run on all of them normalises them."""
    draw = torch.Generator().manual_seed(0)
    every = torch.randint(0, 256, (96, 3, 16, 16), generator=draw, dtype=torch.uint8) / 255
    mean, std = (each[:, None, None] for each in (every.mean((0, 2, 3)), every.std((0, 2, 3))))
    return (pixels / 255 - mean) / std


def test_dropout_of_a_teacher_is_off(pixels: Tensor) -> None:
    scores = []
    for seed in (0, 1):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            scores.append(score(teacher=net(), data=(pixels, LABELS), proxy="kd"))
    assert scores[0] == scores[1]


CONV = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        ({"teacher": CONV}, "teacher: Sequential: its logits are not what a Linear gives"),
        ({"teacher": nn.Sequential(nn.Flatten(), nn.Linear(768, 4))}, "name its stages"),
        ({"teacher": CONV[0]}, r"its forward gives \(2, 8, 14, 14\), not logits"),
        ({"teacher": net(classes=5)}, "the module has 5 classes, num_classes is 4"),
        ({"teacher": (net(), ["nope"])}, "Net has no module 'nope'"),
        ({"teacher": 3}, "teacher: a int is no network"),
        ({"data": ("x", LABELS)}, "data: images is <U1"),
        ({"data": ([[[[0.5]]]] * 2, [0.0, 1.0])}, "labels is float64"),
        ({"data": (torch.randn(8, 3, 16, 16), LABELS[:8])}, "data: images run from -"),
        ({"data": [1, 2, 3]}, "data: it is a list; give "),
        ({"test_data": ([[[[0.5]]]] * 2, [0, 1])}, "test_data: images of 1 channels; data has 3"),
        ({"data": "gaussian", "test_data": (1, 2)}, "test_data: given without training images"),
        ({"test_data": None}, "arrays has no test images; give test_data"),
    ],
)
def test_wrong_objects(pixels: Tensor, objects: dict[str, Any], message: str) -> None:
    right = {"teacher": net(), "data": (pixels, LABELS), "test_data": (pixels, LABELS)}
    with pytest.raises(UserError, match=message):
        diswot.train_student("resnet8", overrides=ONE_EPOCH, **{**right, **objects})


def test_images_of_other_channels_than_the_module_takes(pixels: Tensor) -> None:
    with pytest.raises(UserError, match=r"Net does not run on arrays, images of 1×16×16: Given"):
        score(teacher=net(), data=(pixels[:, :1], LABELS))


def test_another_process_has_no_objects() -> None:
    with pytest.raises(UserError, match="which this call lacks"):
        given.images(sha256="0" * 64, name="arrays")


@pytest.mark.slow
def test_the_example_of_the_docs(capsys: pytest.CaptureFixture[str]) -> None:
    page = (DOCS / "data.md").read_text(encoding="utf-8")
    [block] = [
        text
        for text in re.findall(r"^```python\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
        if "find_student" in text
    ]
    exec(block, {"__name__": "example"})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("SearchResult(arch='s0:")
    assert lines[1].startswith("TrainResult(test_top1=")


def test_a_race_keeps_the_objects_of_its_search(pixels: Tensor) -> None:
    """Teacher and images need not be given again; without test images nothing can be measured."""
    given = {"teacher": net(), "data": (pixels, LABELS), "test_data": (pixels[:32], LABELS[:32])}
    words = [*SMALL, "strategy=random", "strategy.evaluations=2", "budget=none"]
    found = diswot.find_student(space="s0", proxy="params", workers=1, overrides=words, **given)
    assert found.summary["teacher_accuracy"]["images"] == 32
    brief = ["data.batch_size=16", "protocol.validation=0.2", "device=cpu"]
    raced = found.race(rungs=[1], seeds=1, finalists=1, control="none", images=32, overrides=brief)
    assert raced.arch == found.arch
    assert (raced.control, raced.margin) == (None, None)
    assert raced.summary["teacher_top1"] == pytest.approx(found.summary["teacher_accuracy"]["top1"])
    assert repr(raced).startswith(f"RaceResult(arch='{raced.arch}', test_top1=")
    assert len(repr(found)) < 120
