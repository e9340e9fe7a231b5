"""The teacher of a search: which weights teach, and how good it is itself."""

from pathlib import Path
from typing import Any

import pytest
import torch

from diswot.commands import compose
from diswot.config import make
from diswot.data.base import ImageData
from diswot.errors import UserError
from diswot.search import main, run_search
from diswot.teaching import accuracy, build_teacher, teaching_weights

S0 = ["space=s0", "space.depths=[1,2]", "strategy=exhaustive", "proxy=params", "device=cpu"]
SETTINGS = [*S0, "workers=1", "teacher=resnet20", "budget=none"]


def node(*words: str) -> dict[str, Any]:
    config: dict[str, Any] = compose("search", [*SETTINGS, *words], None)["teacher"]
    return config


@pytest.mark.parametrize(
    ("words", "data", "weights"),
    [
        ((), "fashion_mini", "embedded"),
        ((), "cifar10", "none"),
        (("teacher.weights=mine.pt",), "fashion_mini", "mine.pt"),
        (("teacher.network.shortcut=A",), "fashion_mini", "none"),
        (("teacher=wrn_40_2",), "fashion_mini", "none"),
        (("teacher=none",), "fashion_mini", "none"),
    ],
)
def test_a_teacher_teaches_with_its_own_weights_or_the_embedded(
    words: tuple[str, ...], data: str, weights: str
) -> None:
    assert teaching_weights(node(*words), data) == weights


def test_a_search_measures_its_teacher_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*SETTINGS, "teacher_images=40", f"hydra.run.dir={tmp_path}"]) == 0
    out = capsys.readouterr().out
    config = compose("search", SETTINGS, None)
    data = make(config["data"], "data", ImageData)
    images = data.test_dataset()
    chosen = [int(number) for number in torch.linspace(0, len(images) - 1, 40)]
    batch = torch.stack([images.image(number) for number in chosen]), images.labels[chosen]
    network = build_teacher({**config["teacher"], "weights": "embedded"}, data)
    top1 = accuracy(network, [batch], "cpu")["top1"]
    assert top1 > 75
    known = run_search({**config, "teacher_images": 3}, tmp_path, quiet=True).teacher_accuracy
    assert known is not None
    assert (known.weights, known.images, known.of) == ("embedded", 40, 2_000)
    assert known.top1 == pytest.approx(top1)
    line = f"(weights: embedded), itself top-1 {top1:.2f} % on 40 of the 2,000 test images"
    assert 0 < out.index(line) < out.index("Best 5 of")
    assert f"teacher resnet20, top-1 {top1:.2f} %" in out


def test_weights_that_do_not_fit_end_a_search(tmp_path: Path) -> None:
    """Though no proxy compares with the teacher: what comes after the search would not run."""
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "other.pt")
    words = [*SETTINGS, f"teacher.weights={tmp_path}/other.pt"]
    with pytest.raises(UserError, match=r"teacher\.weights: .*other\.pt does not fit"):
        run_search(compose("search", words, None), tmp_path / "run")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("teacher_images=0",), False),
        (("teacher_images=9", "teacher.network.shortcut=A"), False),
        (("teacher_images=9", "data=gaussian", "data.num_classes=7"), False),
        (("teacher.weights=embedded", "data=gaussian", "data.num_classes=7"), True),
    ],
)
def test_a_teacher_that_cannot_be_measured_stops_no_search(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], told: bool
) -> None:
    assert run_search(compose("search", [*SETTINGS, *words], None), tmp_path).evaluated == 8
    out = capsys.readouterr().out
    assert ("The accuracy of the teacher was not measured: " in out) == told
    assert "itself top-1" not in out


def test_a_wrong_number_of_images_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SETTINGS, "teacher_images=-1"]) == 2
    assert "teacher_images=-1" in capsys.readouterr().err
