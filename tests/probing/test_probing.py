"""Probes: the fit, the run directory, and the teachers that come of it."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from diswot.checkpoint import load_student
from diswot.cli import main
from diswot.commands import compose
from diswot.config import make
from diswot.data.base import ImageData
from diswot.errors import UserError
from diswot.models.resnet import CifarResNet
from diswot.models.zoo import timm_network
from diswot.probe import run_probe
from diswot.probing import Embedded, fitted, top1
from diswot.runs import find_runs
from diswot.scoring.setup import Setup
from diswot.teaching import build_teacher, measured

DATA = ["data=gaussian", "data.length=96", "data.batch_size=32", "data.image_size=8", "device=cpu"]
SMALL = ["teacher=resnet8", "teacher.network.widths=[8,8,16,16]"]
STUDENT = ["student=resnet8", "student.network.widths=[8,8,16,16]", "protocol.max_epochs=1"]
STUDENT += ["protocol.schedule.warmup=0"]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("diswot.reporting.train.plot_curves", lambda *_: None)


@pytest.fixture
def of_others() -> str:
    """A teacher of five classes."""
    torch.manual_seed(3)
    torch.save(CifarResNet([1, 1, 1], [8, 8, 16, 16], num_classes=5).state_dict(), "five.pt")
    return "teacher.weights=five.pt"


def images() -> ImageData:
    return make(compose("train", DATA, None)["data"], "data", ImageData)


def given(count: int = 60, width: int = 5, classes: int = 3) -> Embedded:
    """Classes that lie apart but overlap, in features of unlike scale and one that is constant."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % classes
    centres = torch.randn(classes, width, generator=draw)
    features = centres[labels] + torch.randn(count, width, generator=draw)
    features[:, -1] = 4.0
    return Embedded(features * torch.tensor([1.0, 100.0, 0.01, 3.0, 1.0]) + 7, labels)


def objective(weight: Tensor, bias: Tensor, data: Embedded, l2: float) -> Tensor:
    """That of the docstring, for a classifier of embeddings as they are."""
    x = data.embeddings.double()
    std = x.std(0, correction=0)
    own, logits = weight.double() * std, x @ weight.double().T + bias.double()
    return F.cross_entropy(logits, data.labels) + l2 / 2 * own.square().sum()


@pytest.mark.parametrize("l2", [0.001, 0.1])
def test_the_fit_is_the_optimum_of_its_objective(l2: float) -> None:
    data, steps = given(), list[float]()
    fit = fitted(
        data, 3, l2=l2, max_steps=200, tolerance=1e-7, on_step=lambda _, loss: steps.append(loss)
    )
    assert fit.converged
    assert fit.steps == len(steps) < 200
    assert steps[0] == pytest.approx(torch.tensor(3.0).log().item())  # from zero
    least = objective(fit.weight, fit.bias, data, l2)
    draw = torch.Generator().manual_seed(1)
    for _ in range(20):  # it is convex: no neighbour is lower
        other = fit.weight * (1 + 0.01 * torch.randn(fit.weight.shape, generator=draw))
        shift = fit.bias + 0.01 * torch.randn(fit.bias.shape, generator=draw)
        assert objective(other, fit.bias, data, l2) >= least
        assert objective(fit.weight, shift, data, l2) >= least
    assert top1(fit, data) > 60
    again = fitted(data, 3, l2=l2, max_steps=200, tolerance=1e-7)
    assert torch.equal(again.weight, fit.weight)
    assert not fit.weight[:, -1].any()  # of the constant feature


def test_two_classes_of_one_feature_in_closed_form() -> None:
    """Of x = ±1, three of four right, the best logit difference is log 3 · x."""
    x = torch.tensor([1.0, 1, 1, 1, -1, -1, -1, -1])[:, None]
    data = Embedded(2 * x + 5, torch.tensor([1, 1, 1, 0, 0, 0, 0, 1]))
    fit = fitted(data, 2, l2=0, max_steps=100, tolerance=1e-9)
    apart = (fit.weight[1] - fit.weight[0]).item()
    assert apart == pytest.approx(torch.tensor(3.0).log().item() / 2, rel=1e-6)
    assert (fit.bias[1] - fit.bias[0]).item() == pytest.approx(-5 * apart, rel=1e-6)


def test_a_fit_may_end_early_and_needs_different_images() -> None:
    fit = fitted(given(), 3, l2=0, max_steps=2)
    assert (fit.steps, fit.converged) == (2, False)
    with pytest.raises(UserError, match="the same embedding"):
        fitted(Embedded(torch.ones(4, 2), torch.arange(4)), 4, l2=0, max_steps=2)


def test_a_probe_gives_a_teacher(of_others: str, capfd: pytest.CaptureFixture[str]) -> None:
    words = [*SMALL, of_others, *DATA]
    assert main(["probe", *words, "hydra.run.dir=probe"]) == 0
    shown = capfd.readouterr().out
    assert "data=gaussian teacher.weights=probe" in shown
    result = json.loads(Path("probe/result.json").read_text())
    lines = [json.loads(line) for line in Path("probe/fit.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, result["steps"] + 1))
    network, data = load_student("probe"), images()
    batch = data.train_dataset()
    with torch.no_grad():
        logits = network(batch.transform.normalize(batch.fitted(torch.arange(96))))
    right = (logits.argmax(1) == batch.labels).float().mean().item()
    assert result["train_top1"] == pytest.approx(100 * right, abs=1e-3)
    assert torch.equal(network.conv1.weight, torch.load("five.pt")["conv1.weight"])
    assert main(["probe", *words, "hydra.run.dir=probe"]) == 0
    assert "This probe has finished before" in capfd.readouterr().out

    taught = ["train", *SMALL, *STUDENT, *DATA, "distiller=kd"]
    assert main([*taught, of_others]) == 2
    refused = capfd.readouterr().err
    assert refused.count("\n") == 1
    assert "five.pt classifies 5 classes, num_classes is 10, and distiller kd reads" in refused
    assert "diswot probe" in refused
    assert main([*taught, "teacher.weights=probe", "hydra.run.dir=taught"]) == 0
    own = json.loads(Path("taught/result.json").read_text())["teacher_top1"]
    assert own == pytest.approx(result["test_top1"], abs=1e-3)
    other = compose("train", [*taught[1:], "teacher.weights=probe", "data.image_size=24"], None)
    wider = make(other["data"], "data", ImageData)
    wrapped = build_teacher(other["teacher"], wider).eval()  # at the size of the probe's images
    with torch.no_grad():
        logits = wrapped(torch.ones(2, 3, 24, 24)), network(torch.ones(2, 3, 8, 8))
    torch.testing.assert_close(*logits, rtol=1e-3, atol=1e-3)
    assert main(["report", "probe"]) == 0
    (run,) = find_runs([Path("probe")])
    assert (run.command, run.state) == ("probe", "finished")


def test_features_of_a_teacher_without_a_classifier_teach(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A transformer of timm without a head, at another size and normalisation."""
    model = timm_network("test_vit", num_classes=2, image_size=32)
    state = {k: v for k, v in model.state_dict().items() if not k.startswith("head.")}
    torch.save(state, "vit.pth")
    teacher = ["teacher=timm", "teacher.name=test_vit", "teacher.weights=vit.pth", *DATA]
    teacher += ["teacher.input={image_size:32,mean:[0.5],std:[0.5]}"]
    words = ["train", *teacher, *STUDENT, "distiller.embedding.projector=mlp"]
    assert main([*words, "distiller=[embedding,sp]", "hydra.run.dir=taught"]) == 0
    assert "without a classifier for these classes" in capfd.readouterr().out
    assert json.loads(Path("taught/result.json").read_text())["teacher_top1"] is None
    assert main([*words, "distiller=[embedding,dist]", "hydra.run.dir=other"]) == 2
    reads = "vit.pth holds no classifier, and distiller {} reads its logits; fit"
    assert reads.format("dist") in capfd.readouterr().err
    race = ["race", "space=s0", "archs=[s0:1-1-1]", *teacher, "protocol.validation=0.2"]
    assert main([*race, "rungs=[1]", "seeds=1"]) == 2
    assert reads.format("kd") in capfd.readouterr().err

    config = compose("search", [*teacher, "space=s0", "proxy=semantic", "data.batch_size=4"], None)
    seen = []
    for stream in (1, 2):  # whose global draws leave no trace
        torch.manual_seed(stream)
        seen.append(Setup.from_config(config))
    summaries = [setup.scorer.teacher["semantic"] for setup in seen]
    for name, value in summaries[0].items():
        assert not isinstance(value, Tensor) or torch.equal(value, summaries[1][name])
    assert seen[0].teacher_network.classifier.weight.std() > 0.5  # drawn, as an untrained one
    accuracy, problem = measured(config["teacher"], seen[0].data, "cpu", 8)
    assert accuracy is None
    assert problem == (
        "vit.pth holds no classifier; its classifier is drawn, diswot probe fits one"
    )


def test_what_cannot_be_probed(of_others: str) -> None:
    def refused(*words: str) -> str:
        with pytest.raises(UserError) as caught:
            run_probe(compose("probe", [*SMALL, of_others, *DATA, *words], None), Path("run"))
        return str(caught.value)

    assert refused("teacher.weights=none").startswith("teacher=resnet8 teacher.weights=none: a")
    assert refused("l2=-1") == "l2=-1 is not allowed; give a number of at least 0"
    assert refused("max_steps=0").startswith("max_steps=0 is not allowed")
    assert not Path("run").exists()
