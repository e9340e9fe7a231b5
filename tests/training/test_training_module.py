"""Every distiller trains a student, and nothing but the student."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from training_helpers import composed, epochs, left, prepared, trained

from diswot.checkpoint import build_network
from diswot.commands import compose
from diswot.config import conf_dir
from diswot.train import run_train
from diswot.training.module import Distillation
from diswot.training.setup import TrainingSetup

FURTHER = {
    "dkd": ["distiller.dkd.warmup=1"],
    "reviewkd": ["distiller.reviewkd.warmup=1"],
    "crd": ["distiller.crd.negatives=64"],
    "fsp": ["protocol.optimizer.lr=0.002"],
}
"""Losses that else grow with the epochs, or take long."""
MEMBERS = sorted({file.stem for file in (conf_dir() / "distiller").glob("*.yaml")} - {"none"})
NARROW = ["student=resnet8", "student.network.widths=[8,8,16,16]"]
TEACHER = ["teacher=resnet14", "teacher.network.widths=[8,8,16,32]"]
WIDE = ["student=wrn_16_2", "student.network.width=1", "student.network.depth=10"]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four classes, each of a colour of its own under noise."""
    rng = np.random.default_rng(0)
    labels = np.arange(256) % 4
    colours = np.array([[60, 60, 200], [60, 200, 60], [200, 60, 60], [160, 160, 160]])
    noise = rng.normal(0, 60, (256, 3, 16, 16))
    pixels = (colours[labels][:, :, None, None] + noise).clip(0, 255).astype(np.uint8)
    path = tmp_path_factory.mktemp("images") / "colours.npz"
    np.savez(path, x_train=pixels, y_train=labels, x_test=pixels[:32], y_test=labels[:32])
    return path


@pytest.fixture(scope="module")
def lesson(tmp_path_factory: pytest.TempPathFactory, images: Path) -> list[str]:
    """The settings of data, and of a teacher that knows their colours."""
    path = tmp_path_factory.mktemp("teacher") / "run"
    student = [word.replace("teacher", "student") for word in TEACHER]
    data = [f"data.path={images}", "data=npz", "device=cpu"]
    words = ["teacher=none", "distiller=none", *student, *data, "protocol.max_epochs=6"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("diswot.reporting.train.plot_curves", lambda *_: None)
        config = compose("train", [*words, "data.batch_size=32"], None)
        assert run_train(config, path, [conf_dir()], quiet=True).test_top1 > 90
    return [*data, *TEACHER, f"teacher.weights={path}", "data.batch_size=64"]


def bits(network: torch.nn.Module) -> str:
    state = network.state_dict().values()
    return hashlib.sha256(b"".join(value.numpy().tobytes() for value in state)).hexdigest()


def teacher_bits(setup: TrainingSetup) -> str | None:
    teacher = setup.module._teacher
    assert (teacher is not None) == setup.module.needs_teacher
    return None if teacher is None else bits(teacher._network)


@pytest.mark.parametrize(
    "student", [NARROW, pytest.param(WIDE, marks=pytest.mark.slow)], ids=["narrow", "wide"]
)
@pytest.mark.parametrize("name", MEMBERS)
def test_every_distiller(
    tmp_path: Path,
    lesson: list[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    student: list[str],
) -> None:
    """It trains the student and its connectors, and does not touch the teacher."""
    losses: list[float] = []
    kept: list[tuple[TrainingSetup, str, dict[str, torch.Tensor]]] = []
    real, step = TrainingSetup.from_config.__func__, Distillation.training_step

    def noted(self: Distillation, *batch: Any) -> torch.Tensor:
        loss = step(self, *batch)
        losses.append(loss.item())
        return loss

    def from_config(cls: Any, *given: Any, **named: Any) -> TrainingSetup:
        setup = real(cls, *given, **named)
        connectors = {n: p.detach().clone() for n, p in setup.module.distillers.named_parameters()}
        kept.append((setup, teacher_bits(setup), connectors))
        return setup

    monkeypatch.setattr(Distillation, "training_step", noted)
    monkeypatch.setattr(TrainingSetup, "from_config", classmethod(from_config))
    short = ["protocol.max_epochs=2", "protocol.optimizer.lr=0.02", "protocol.schedule.warmup=0"]
    words = [*lesson, *short, *student, f"distiller={name}", *FURTHER.get(name, [])]
    run_train(compose("train", words, None), tmp_path / "run", [conf_dir()], quiet=True)
    ((setup, before, connectors),) = kept
    assert len(losses) == 8
    assert all(np.isfinite(losses))
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
    assert teacher_bits(setup) == before
    for parameter_name, parameter in setup.module.distillers.named_parameters():
        assert not torch.equal(parameter, connectors[parameter_name]), parameter_name


def test_setup_leaves_student_and_generator_alone(weights: Path) -> None:
    torch.manual_seed(11)
    state = torch.get_rng_state()
    one, same = prepared(weights, "distiller=[fitnet,vid]"), prepared(weights, "distiller=kd")
    assert torch.equal(torch.get_rng_state(), state)
    assert bits(one.module.student) == bits(same.module.student)
    for name, value in one.module.student.state_dict().items():
        if name.endswith(("running_mean", "num_batches_tracked")):
            assert not value.any(), name
    other = prepared(weights, "seed=1")
    assert bits(other.module.student) != bits(one.module.student)
    assert one.module.student.training
    again = prepared(weights, "distiller=[fitnet,vid]")
    assert bits(one.module.distillers) == bits(again.module.distillers)


def test_the_weight_of_the_cross_entropy(weights: Path) -> None:
    chosen = ["distiller=kd", "distiller=[kd,sp]", "distiller=sp", "distiller=none"]
    assert [prepared(weights, word).module.ce_weight for word in chosen] == [0.1, 0.1, 1.0, 1.0]
    assert prepared(weights, "protocol.ce_weight=0.5").module.ce_weight == 0.5


def test_the_loss_is_the_weighted_sum(tmp_path: Path, weights: Path) -> None:
    falling = "distiller.kd.weight={from: 0.9, to: 0, shape: linear, epochs: 3}"
    trained(tmp_path / "run", weights, "distiller=[kd,sp]", "protocol.ce_weight=0.3", falling)
    for line, weight in zip(epochs(tmp_path / "run"), (0.9, 0.6, 0.3), strict=True):
        parts = line["losses"]
        whole = 0.3 * parts["ce"] + weight * parts["kd"] + 3000 * parts["sp"]
        assert parts["loss"] == pytest.approx(whole, rel=1e-5)


def test_a_student_teaches_itself(tmp_path: Path, weights: Path) -> None:
    result = trained(tmp_path / "run", weights, "distiller=[byot,sd_dropout]")
    assert (result["teacher"], result["teacher_top1"]) == (None, None)
    assert result["distiller"] == ["byot", "sd_dropout"]
    assert set(epochs(tmp_path / "run")[0]["losses"]) == {"loss", "ce", "byot", "sd_dropout"}
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert config["teacher"] == compose("train", ["teacher=none"], None)["teacher"]


@pytest.mark.parametrize("settings", [[], ["protocol.teacher_cache={views: 1, dir: cache}"]])
def test_resident_images_change_no_bit(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, settings: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for run in ("false", "true"):
        trained(tmp_path / run, weights, f"data.resident={run}", *settings)
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    assert left(tmp_path / "false") == left(tmp_path / "true")


def test_how_a_student_is_compiled(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[str | None] = []
    monkeypatch.setattr("torch.compile", lambda run, mode: modes.append(mode) or run)
    for value in ("false", "true", "reduce-overhead"):
        prepared(weights, f"protocol.compile={value}")
    assert modes == [None, "reduce-overhead"]


@pytest.mark.parametrize("accumulated", [1, 2])
def test_the_rate_falls_to_its_end(tmp_path: Path, weights: Path, accumulated: int) -> None:
    """A step of the optimiser, not of the batches."""
    steps = f"trainer.accumulate_grad_batches={accumulated}"
    trained(tmp_path / "run", weights, "protocol.schedule.warmup=0", steps)
    rates = [line["lr"] for line in epochs(tmp_path / "run")]
    assert rates == pytest.approx([0.075, 0.025, 0], abs=1e-9)


def test_the_average_is_what_is_saved(tmp_path: Path, weights: Path) -> None:
    trained(tmp_path / "run", weights, "protocol.ema=0.99")
    saved = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    average, current = saved["state_dict"], saved["current_model_state"]
    for name, value in load_file(tmp_path / "run" / "student.safetensors").items():
        assert torch.equal(value, average[f"student.{name}"])
    assert not torch.equal(current["student.fc.weight"], average["student.fc.weight"])


def test_lightnings_average_goes_with_connectors_that_merge(tmp_path: Path, weights: Path) -> None:
    """Its last epoch, which trains nothing, is that of the average."""
    swa = "+callbacks.swa={_target_: lightning.pytorch.callbacks.StochasticWeightAveraging"
    swa += ", swa_lrs: 0.01, swa_epoch_start: 1}"
    trained(tmp_path / "run", weights, "distiller=norm", swa)
    saved = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    assert len(epochs(tmp_path / "run")) == 4
    student = load_file(tmp_path / "run" / "student.safetensors")
    best = load_file(tmp_path / "run" / "best.safetensors")
    assert student.keys() == best.keys()
    assert torch.equal(student["conv1.weight"], saved["state_dict"]["student.conv1.weight"])


def test_accuracy_is_that_of_the_saved_student(tmp_path: Path, weights: Path) -> None:
    config = composed(weights)
    result = trained(tmp_path / "run", weights)
    setup = TrainingSetup.from_config(config)
    spec = {**config["student"], "weights": str(tmp_path / "run" / "student.safetensors")}
    network = build_network(spec, "student", 10, 3).eval()
    loader = setup.batches.test_dataloader()
    with torch.no_grad():
        right = sum(int((network(x).argmax(1) == y).sum()) for x, y, _ in loader)
    assert result["test_top1"] == pytest.approx(100 * right / 96, abs=1e-3)
