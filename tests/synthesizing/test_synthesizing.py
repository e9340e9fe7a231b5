"""Syntheses: the losses, the images, the run directory, and students without training images."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from diswot import keys
from diswot.cli import main
from diswot.commands import compose
from diswot.config import make
from diswot.data.base import ImageData
from diswot.data.fashion import FashionMini
from diswot.errors import UserError
from diswot.models.resnet import CifarResNet
from diswot.runs import find_runs
from diswot.synthesize import run_synthesize
from diswot.synthesizing import (
    Inversion,
    Inverted,
    statistics_distance,
    synthesized,
    total_variation,
)

WIDTHS = [8, 8, 16, 16]
SMALL = ["teacher=resnet8", "teacher.network.widths=[8,8,16,16]", "teacher.weights=seen.pt"]
DATA = ["data=fashion_mini", "data.image_size=16", "device=cpu"]
FEW = ["images=25", "batch=10", "steps=3"]
SETTINGS = Inversion(steps=12, lr=0.2, statistics=1.0, variation=0.1, shift=1, grey=True)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A teacher of ten classes that has seen something, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("diswot.reporting.train.plot_curves", lambda *_: None)
    torch.manual_seed(3)
    network = CifarResNet([1, 1, 1], WIDTHS, num_classes=10)
    network(torch.randn(64, 3, 16, 16))
    torch.save(network.state_dict(), "seen.pt")


@pytest.fixture
def no_training_images(monkeypatch: pytest.MonkeyPatch) -> None:
    load = FashionMini.load

    def only_tests(self: FashionMini, split: str) -> object:
        assert split == "test", "a training image was asked for"
        return load(self, split)

    monkeypatch.setattr(FashionMini, "load", only_tests)


def images_like(*words: str) -> ImageData:
    return make(compose("synthesize", [*DATA, *words], None)["data"], "data", ImageData)


def teacher() -> nn.Module:
    network = CifarResNet([1, 1, 1], WIDTHS, num_classes=10)
    network.load_state_dict(torch.load("seen.pt"))
    return network


def test_the_distance_of_statistics_is_its_formula() -> None:
    draw = torch.Generator().manual_seed(0)
    given = torch.randn(5, 3, 4, 2, generator=draw, dtype=torch.float64) * 2 + 1
    mean, var = torch.tensor([0.5, 1.0, -1.0]).double(), torch.tensor([1.0, 4.0, 0.25]).double()
    expected = 0.0
    for channel in range(3):
        values = given[:, channel].flatten().tolist()
        own = sum(values) / len(values)
        spread = sum((v - own) ** 2 for v in values) / len(values)
        scale = float(var[channel]) + 0.1
        expected += (own - float(mean[channel])) ** 2 / scale / 3
        expected += ((spread - float(var[channel])) / scale) ** 2 / 3
    assert float(statistics_distance(given, mean, var, 0.1)) == pytest.approx(expected)
    axes = (0, 2, 3)
    exact = statistics_distance(given, given.mean(axes), given.var(axes, correction=0), 0.1)
    assert float(exact) == pytest.approx(0)
    given.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: statistics_distance(x, mean, var, 0.1), given)


def test_total_variation_by_hand() -> None:
    image = torch.tensor([[[[0.0, 1.0], [3.0, 1.0]]]])
    assert float(total_variation(image)) == (9 + 0) / 2 + (1 + 4) / 2


def test_images_come_nearer_to_what_the_network_knows() -> None:
    network, data = Inverted(teacher(), "cpu"), images_like()
    weights = [each.clone() for each in network._network.state_dict().values()]
    labels, state = torch.arange(20) % 10, torch.get_rng_state()

    def made(settings: Inversion) -> torch.Tensor:
        return synthesized(network, labels, data, settings, keys.generator("test", 0))

    images = made(SETTINGS)
    assert (images.dtype, images.shape) == (torch.uint8, (20, 3, 16, 16))
    assert torch.equal(images[:, 0], images[:, 2])  # grey
    assert torch.equal(images, made(SETTINGS))
    assert torch.equal(torch.get_rng_state(), state)
    for before, after in zip(weights, network._network.state_dict().values(), strict=True):
        assert torch.equal(before, after)
    noise = made(Inversion(steps=0, lr=0.2, statistics=1, variation=0, shift=1, grey=False))
    assert not torch.equal(noise[:, 0], noise[:, 2])
    with torch.no_grad():
        first, last = (
            network.losses(data.transform.normalize(each), labels) for each in (noise, images)
        )
    assert last.cross_entropy < first.cross_entropy
    assert last.statistics < first.statistics


def test_a_student_learns_without_training_images(
    no_training_images: None, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["synthesize", *SMALL, *DATA, *FEW, "hydra.run.dir=made"]
    assert main(words) == 0
    shown = capfd.readouterr().out
    assert "batch 3/3  cross-entropy" in shown
    assert "data=synthesized data.run=made" in shown
    result = json.loads(Path("made/result.json").read_text())
    assert (result["images"], result["data"]) == (25, "fashion_mini")
    with np.load("made/images.npz") as arrays:
        assert arrays["x_train"].shape == (25, 3, 16, 16)
        assert arrays["y_train"].tolist() == [n % 10 for n in range(25)]
    assert not list(Path("made").glob("batch-*.npz"))
    assert main(words) == 0
    assert "This synthesis has finished before" in capfd.readouterr().out
    (run,) = find_runs([Path("made")])
    assert (run.command, run.state) == ("synthesize", "finished")

    trained = ["train", *SMALL, "student=resnet8", "student.network.widths=[8,8,16,16]"]
    trained += ["data=synthesized", "data.run=made", "data.batch_size=8", "device=cpu"]
    trained += ["protocol.max_epochs=1", "protocol.schedule.warmup=0", "hydra.run.dir=taught"]
    assert main(trained) == 0
    assert "synthesized, 25 images of 16×16, 10 classes" in capfd.readouterr().out
    assert json.loads(Path("taught/result.json").read_text())["teacher_top1"] > 0


def test_a_stopped_synthesis_goes_on_to_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    config = compose("synthesize", [*SMALL, *DATA, *FEW], None)
    whole = run_synthesize(config, Path("whole"), quiet=True)

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("diswot.synthesize._show_batch", stopped)
        with pytest.raises(KeyboardInterrupt, match="are kept"):
            run_synthesize(config, Path("parts"))
    assert Path("parts/batch-0.npz").exists()
    made = list[int]()

    def counted(network: Inverted, labels: torch.Tensor, *rest: object, **more: object) -> object:
        made.append(len(labels))
        return synthesized(network, labels, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("diswot.synthesizing.synthesized", counted)
    resumed = run_synthesize(config, Path("parts"), quiet=True)
    assert made == [10, 5]
    assert Path("parts/images.npz").read_bytes() == Path("whole/images.npz").read_bytes()
    Path("parts/result.json").unlink()  # killed before it was written
    run_synthesize(config, Path("parts"), quiet=True)
    assert made == [10, 5]
    Path("parts/images.npz").unlink()
    run_synthesize(config, Path("parts"), quiet=True)
    assert made == [10, 5, 10, 10, 5]
    assert Path("parts/images.npz").read_bytes() == Path("whole/images.npz").read_bytes()
    assert resumed.cross_entropy == whole.cross_entropy
    other = run_synthesize({**config, "seed": 1}, Path("other"), quiet=True)
    assert other.cross_entropy != whole.cross_entropy


def test_what_cannot_be_synthesized(capfd: pytest.CaptureFixture[str]) -> None:
    def refused(*words: str) -> str:
        with pytest.raises(UserError) as caught:
            run_synthesize(compose("synthesize", [*SMALL, *DATA, *FEW, *words], None), Path("run"))
        return str(caught.value)

    assert refused("teacher.weights=none").startswith("teacher=resnet8 teacher.weights=none: an")
    assert refused("images=5") == "batch=10 is more than images=5; give at most as many"
    assert refused("steps=-1").startswith("steps=-1 is not allowed")
    torch.save(CifarResNet([1, 1, 1], WIDTHS, num_classes=5).state_dict(), "five.pt")
    five = refused("teacher.weights=five.pt")
    assert five.startswith("teacher.weights: five.pt classifies 5 classes, num_classes is 10, so")
    with pytest.raises(UserError, match="it has no BatchNorm"):
        Inverted(nn.Linear(2, 2), "cpu")
    assert not Path("run").exists()
    for run in ("nowhere", "."):
        assert main(["train", "data=synthesized", f"data.run={run}", *SMALL]) == 2
        error = capfd.readouterr().err
        assert error.count("\n") == 1
        assert "give the run directory of a diswot synthesize that has finished" in error
