"""Models of timm on the command line: teachers and candidates, and what is refused."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_helpers import Cli, Ended, refused
from safetensors.torch import save_file

from diswot.models.zoo import timm_network

IMAGES = ["data=gaussian", "data.batch_size=4", "data.image_size=32", "workers=1", "device=cpu"]
TINY = "space.models=[test_vit,test_vit2,test_resnet]"
SEARCH = ["space=timm", "teacher=timm", "teacher.name=test_vit", *IMAGES]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_models_inside_the_budget_are_listed(cli: Cli) -> None:
    words = ["strategy=exhaustive", "proxy=[params,relation]", "hydra.run.dir=run", TINY]
    found = cli(*SEARCH, "budget.params=3.7e5", "budget.flops=null", *words)
    assert found.code == 0, found.err
    assert "timm:test_vit " in found.out
    assert "timm:test_resnet" not in found.out


def test_latencies_are_of_the_size_of_the_data(cli: Cli) -> None:
    words = ["strategy=exhaustive", "proxy=relation", "budget=none", "latency.always=true"]
    words += ["space.models=[test_vit,levit_128s]", "latency.repeats=2", "hydra.run.dir=run"]
    found = cli(*SEARCH, *words)
    assert found.code == 0, found.err
    records = map(json.loads, Path("run/candidates.jsonl").read_text().splitlines())
    one, two = sorted(records, key=lambda record: record["arch"], reverse=True)
    assert (one["arch"], one["status"], one["latency_ms"] > 0) == ("timm:test_vit", "ok", True)
    assert (two["arch"], two["status"], two["latency_ms"]) == ("timm:levit_128s", "failed", None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["teacher.name=resnet19"], "network.model: timm has no 'resnet19'; nearest: resnet"),
        (["teacher.name=inception_v3"], "inception_v3 does not run on images of 32×32"),
        (["teacher.name=levit_128s"], "its last layer has to be one: it has two heads"),
        (["space.models=[resnet19]"], "space.models: timm has no 'resnet19'"),
    ],
)
def test_bad_input(cli: Cli, words: list[str], message: str) -> None:
    assert message in refused(cli(*SEARCH, *words, "strategy=random", "strategy.evaluations=2"))


@pytest.mark.data
@pytest.mark.slow
def test_a_teacher_of_imagenet_without_a_hub(
    command: Callable[..., Ended], data_root: Path
) -> None:
    words = ["data=imagenet", f"data.root={data_root / 'imagenet_sample'}", "data.batch_size=8"]
    words += ["data.mean=[0.5,0.5,0.5]", "data.std=[0.5,0.5,0.5]", "data.image_size=64"]
    words += ["teacher=efficientnet_lite0", "teacher.weights=packaged", "workers=1", "device=cpu"]
    search = ["space=s2", "budget.params=2e6", "strategy=random", "strategy.evaluations=1"]
    found = command("search", *words, *search, "proxy=[recommended]", "hydra.run.dir=found")
    assert found.code == 0, found.err
    (top1,) = re.findall("itself top-1 ([0-9.]+) % on the 108 test images", found.out)
    assert float(top1) > 10  # 0.1 by chance; its own images are of 224 pixels
    brief = ["rungs=[1]", "seeds=1", "images=8", "finalists=1", "control=none"]
    raced = command("race", "found", *words, *brief, "hydra.run.dir=raced")
    assert raced.code == 0, raced.err
    assert "efficientnet_lite0 (teacher)" in raced.out
    assert command("export", "raced").code == 0


def test_weights_of_another_model(cli: Cli, tmp_path: Path) -> None:
    network = timm_network("test_resnet", num_classes=10, image_size=32)
    save_file(network.state_dict(), tmp_path / "resnet.safetensors")
    weights = f"teacher.weights={tmp_path / 'resnet.safetensors'}"
    assert "does not fit the network: it lacks" in refused(cli(*SEARCH, weights, TINY))
