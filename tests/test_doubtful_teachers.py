"""A teacher that does not know the data is doubted, by every command that has one."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from diswot import race, rank, search, train
from diswot.runs import TeacherAccuracy
from diswot.teaching import accuracy, doubt


def known(top1: float, images: int, chance: float) -> bool:
    return doubt("mine", TeacherAccuracy("a.pt", top1, images, images, chance)) is None


@pytest.mark.parametrize(
    ("top1", "images", "chance", "knows"),
    [
        (10.0, 1_000, 10.0, False),
        (13.1, 1_000, 9.84, False),  # the embedded ResNet-20 on CIFAR-10: its interval begins at 11
        (12.2, 1_000, 9.67, False),  # the embedded ResNet-56 there
        (25.0, 1_000, 10.0, True),
        (2.0, 1_000, 10.0, False),  # worse than chance
        (56.0, 1_000, 50.0, False),
        (62.0, 1_000, 50.0, True),
        (90.0, 1_000, 90.0, False),  # one class is most of the images, and all it says
        (97.0, 1_000, 90.0, True),
        (40.0, 10, 10.0, False),  # too few to say
        (90.0, 10, 10.0, True),
        (100.0, 2, 100.0, True),  # of one class, all right
        (13.0, 10_000, 0.1, True),  # of a thousand classes
    ],
)
def test_what_is_doubted(top1: float, images: int, chance: float, knows: bool) -> None:
    assert known(top1, images, chance) == knows


def test_older_results_say_nothing_of_chance() -> None:
    assert doubt("mine", TeacherAccuracy("a.pt", 10.0, 100, 100)) is None
    assert doubt("mine", None) is None


def test_chance_is_of_what_it_says_and_what_is_there() -> None:
    class Said(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return nn.functional.one_hot(images[:, 0, 0, 0].long(), 3).float()

    said, labels = torch.tensor([0, 0, 0, 1, 2, 2]), torch.tensor([0, 0, 1, 1, 1, 2])
    batches = [(said[some].view(-1, 1, 1, 1), labels[some]) for some in (slice(4), slice(4, 6))]
    own = accuracy(Said(), batches, "cpu")
    assert own["top1"] == pytest.approx(100 * 4 / 6)
    assert own["chance"] == pytest.approx(100 * (3 * 2 + 1 * 3 + 2 * 1) / 36)
    assert own["images"] == 6


@pytest.fixture
def noise(tmp_path: Path) -> list[str]:
    """Images of ten classes of which no teacher can know anything."""
    draw = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 40), ("test", 60)):
        arrays[f"x_{split}"] = draw.integers(0, 256, (count, 3, 16, 16), np.uint8)
        arrays[f"y_{split}"] = np.arange(count) % 10
    np.savez(tmp_path / "noise.npz", **arrays)
    return ["data=npz", f"data.path={tmp_path}/noise.npz", "data.batch_size=8", "device=cpu"]


TEACHER = ["teacher=resnet20", "teacher.weights=embedded"]
BRIEF = ["protocol.augment=null", "protocol.validation=0.2"]
COMMANDS: list[tuple[Any, list[str]]] = [
    (search, ["space=s0", "space.depths=[1]", "strategy=exhaustive", "proxy=params", "workers=1"]),
    (rank, ["space=s0", "proxy=params", "benchmark.sample=3", "resamples=2", "workers=1"]),
    (train, ["student=resnet8", "protocol.max_epochs=1", *BRIEF]),
    (
        race,
        [
            *("space=s0", "archs=[s0:1-1-1]", "rungs=[1]", "seeds=1", "images=8", "control=none"),
            *("workers=1", *BRIEF),
        ],
    ),
]


@pytest.mark.parametrize(("command", "words"), COMMANDS)
def test_every_command_doubts(
    tmp_path: Path,
    noise: list[str],
    capsys: pytest.CaptureFixture[str],
    command: Any,
    words: list[str],
) -> None:
    given = [*words, *TEACHER, *noise]
    run = [*given, f"hydra.run.dir={tmp_path}/run"]
    assert command.main([*run, "strict=true"]) == 2
    message = "teacher resnet20 (weights: embedded) seems not to know the data: its top-1 is "
    ended = capsys.readouterr().err
    assert message in ended
    assert "on 60 test images, where chance is " in ended
    assert "(strict=true)" in ended
    with pytest.warns(UserWarning, match="seems not to know the data"):
        assert command.main(run) == 0
    if command is not race:
        result = json.loads((tmp_path / "run/result.json").read_text())
        own = result.get("teacher_accuracy") or {"chance": result.get("teacher_chance")}
        assert 5 < own["chance"] < 20
    assert command is race or "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("command", [search, rank])
@pytest.mark.filterwarnings("error:.*seems not to know")
def test_an_untrained_teacher_is_meant(tmp_path: Path, noise: list[str], command: Any) -> None:
    words = dict(COMMANDS)[command]
    given = [*words, *noise, "teacher=resnet8", "proxy=diswot", "strict=true"]
    assert command.main([*given, f"hydra.run.dir={tmp_path}"]) == 0


def test_strict_is_true_or_false(capsys: pytest.CaptureFixture[str]) -> None:
    assert search.main(["strict=maybe", "space=s0"]) == 2
    assert "strict=maybe is not allowed; give true or false" in capsys.readouterr().err
