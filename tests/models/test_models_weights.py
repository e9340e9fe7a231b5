"""Loading weights: every accepted layout, and everything that is refused."""

from __future__ import annotations

import copy
import hashlib
import os
import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from diswot.errors import UserError
from diswot.models.adapter import AdaptedNetwork
from diswot.models.resnet import CifarResNet, WideResNet
from diswot.models.weights import load_weights
from diswot.models.zoo import TimmSource, TorchvisionSource

State = dict[str, Tensor]


def build(shortcut: str = "B", num_classes: int = 10) -> CifarResNet:
    return CifarResNet([1, 1, 1], [4, 4, 8, 8], shortcut, num_classes)


def renamed(state: State, old: str, new: str) -> State:
    return {name.replace(old, new): value for name, value in state.items()}


def equal(one: nn.Module, other: nn.Module) -> bool:
    state = other.state_dict()
    return all(torch.equal(value, state[name]) for name, value in one.state_dict().items())


def refusal(path: Path | str, network: nn.Module | None = None) -> str:
    network = network or build()
    before = copy.deepcopy(network)
    with pytest.raises(UserError) as caught:
        load_weights(network, str(path), name="tiny")
    assert equal(network, before)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("teacher.weights: ")
    return str(caught.value)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".safetensors"])
def test_round_trip(tmp_path: Path, suffix: str) -> None:
    source, target = build(), build()
    path = tmp_path / f"weights{suffix}"
    save: Callable[[State, Path], object] = save_file if suffix == ".safetensors" else torch.save
    save(source.state_dict(), path)
    before = copy.deepcopy(target)
    load_weights(target, "none", name="tiny")
    assert equal(target, before)
    load_weights(target, str(path), name="tiny")
    assert equal(target, source)


@pytest.mark.parametrize(
    "layout",
    [
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": {f"module.{name}": value for name, value in state.items()}},
        lambda state: {f"model.{name}": value for name, value in state.items()},
        lambda state: renamed(state, "fc.", "linear."),
        lambda state: renamed(state, "fc.", "head."),
        lambda state: renamed(state, "fc.", "classifier."),
        lambda state: renamed(
            renamed(state, "shortcut.conv", "downsample.0"), "shortcut.bn", "downsample.1"
        ),
        lambda state: {n: v for n, v in state.items() if not n.endswith("num_batches_tracked")},
    ],
)
def test_other_layouts(tmp_path: Path, layout: Callable[[State], Mapping[str, object]]) -> None:
    source, target = build(), build()
    torch.save(layout(source.state_dict()), tmp_path / "weights.pt")
    load_weights(target, str(tmp_path / "weights.pt"), name="tiny")
    assert equal(target, source)


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors", "legacy.pt"])
def test_truncated_files(tmp_path: Path, suffix: str, keep: float) -> None:
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(build().state_dict(), path)
    else:
        torch.save(build().state_dict(), path, _use_new_zipfile_serialization=suffix != "legacy.pt")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    assert "damaged" in refusal(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_never_runs(tmp_path: Path, zipped: bool) -> None:
    witness = tmp_path / "ran"

    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(witness),)

    path = tmp_path / "weights.pt"
    if zipped:
        torch.save({"conv1.weight": Bomb()}, path)
    else:
        path.write_bytes(pickle.dumps({"conv1.weight": Bomb()}, protocol=2))
    assert "could run code" in refusal(path)
    assert not witness.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"conv1.weight": 3}, "'conv1.weight' is a int, not a tensor"),
        (torch.zeros(3), "holds no state dict"),
        ({}, "holds no state dict"),
    ],
)
def test_contents_that_are_no_state_dict(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "weights.pt")
    assert message in refusal(tmp_path / "weights.pt")


def test_state_dicts_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"

    def refused(state: State) -> str:
        torch.save(state, path)
        return refusal(path)

    state = build().state_dict()
    assert "lacks bn1.bias" in refused({n: v for n, v in state.items() if n != "bn1.bias"})
    assert "adds extra" in refused({**state, "extra": torch.zeros(1)})
    assert "has bn1.bias (3,) instead of (4,)" in refused({**state, "bn1.bias": torch.zeros(3)})
    assert "classifies 100 classes, num_classes is 10" in refused(build("B", 100).state_dict())
    assert "teacher.network.shortcut=A or B" in refused(build("A").state_dict())
    torch.save(state, path)
    assert "teacher.network.shortcut=A or B" in refusal(path, build("A"))
    assert " more" in refused({"fc.weight": state["fc.weight"]})


def test_names_that_lead_nowhere(tmp_path: Path) -> None:
    assert "there is no file" in refusal(tmp_path / "absent.pt")
    assert "there is no file" in refusal("runs/absent")
    with pytest.raises(UserError, match=r"^student.weights: there is no file absent.pt$"):
        load_weights(build(), "absent.pt", name="tiny", setting="student.weights")
    assert "embedded has no weights for 'tiny'; embedded are: " in refusal("embedded")
    assert "nor a tag of tiny; its tags: none" in refusal("IMAGENET1K_V1")
    (tmp_path / "weights.txt").write_text("x")
    assert "must end in one of .pt" in refusal(tmp_path / "weights.txt")


def test_embedded_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = build(), build()
    assets = tmp_path / "assets"
    assets.mkdir()
    save_file(source.state_dict(), assets / "tiny.safetensors")
    digest = hashlib.sha256((assets / "tiny.safetensors").read_bytes()).hexdigest()
    (assets / "SHA256SUMS").write_text(f"{digest}  tiny.safetensors\n")
    monkeypatch.setattr("importlib.resources.files", lambda package: tmp_path)
    load_weights(target, "embedded", name="tiny")
    assert torch.equal(source.fc.weight, target.fc.weight)
    with pytest.raises(UserError, match="no weights for 'other'; embedded are: tiny"):
        load_weights(target, "embedded", name="other")
    save_file(build().state_dict(), assets / "tiny.safetensors")
    assert "but SHA256SUMS says" in refusal("embedded")
    (assets / "SHA256SUMS").write_text("")
    assert "nothing about it" in refusal("embedded")


def test_run_directories(tmp_path: Path) -> None:
    source, target = build(), build()
    assert f"the folder {tmp_path} holds no student.safetensors" in refusal(tmp_path)
    save_file(source.state_dict(), tmp_path / "student.safetensors")
    load_weights(target, str(tmp_path), name="tiny")
    assert equal(target, source)


def test_names_of_crds_wide_networks(tmp_path: Path) -> None:
    source, target = WideResNet(10, 1), WideResNet(10, 1)
    state = {
        re.sub(r"^layer(\d)\.", r"block\1.layer.", name).replace("shortcut", "convShortcut"): value
        for name, value in source.state_dict().items()
    }
    assert "block2.layer.0.convShortcut.weight" in state
    torch.save({"model": state, "epoch": 240}, tmp_path / "wrn.pth")
    load_weights(target, str(tmp_path / "wrn.pth"), name="wrn_10_1")
    assert equal(target, source)


class FakeSource:
    """A source whose network is down for one tag."""

    def __init__(self, state: State) -> None:
        self.state = state

    def tags(self) -> tuple[str, ...]:
        return ("V1", "down")

    def fetch(self, tag: str) -> State:
        if tag == "down":
            raise URLError("Name or service\nnot known")
        return self.state


def test_tags() -> None:
    def adapted(state: State) -> AdaptedNetwork:
        return AdaptedNetwork(build(), ["layer1"], "fc", source=FakeSource(state))

    state = build().state_dict()
    network = adapted(state)
    load_weights(network, "V1", name="tiny")
    assert torch.equal(network.classifier.weight, state["fc.weight"])
    assert "down failed to download (<urlopen error Name or service not known>)" in refusal(
        "down", network
    )
    assert "'V2' is not none, embedded" in refusal("V2", network)
    assert "classifies 1000 classes" in refusal("V1", adapted(build("B", 1000).state_dict()))


def test_published_tags_are_listed_without_a_connection() -> None:
    assert TorchvisionSource("resnet50").tags() == ("IMAGENET1K_V1", "IMAGENET1K_V2")
    assert "a1_in1k" in TimmSource("resnet18").tags()


@pytest.mark.data
@pytest.mark.parametrize(("depth", "top1"), [(20, 91.5), (56, 92.6)])
def test_trained_cifar10_networks_reach_their_accuracy(
    data_root: Path, depth: int, top1: float
) -> None:
    network = CifarResNet([(depth - 2) // 6] * 3, [16, 16, 32, 64], shortcut="A").eval()
    path = data_root / "teachers" / f"cifar10_resnet{depth}_shortcutA.pt"
    load_weights(network, str(path), name=f"resnet{depth}")
    data = np.load(data_root / "cifar10" / "cifar10_mini.npz", allow_pickle=False)
    images = torch.from_numpy(data["x_test"]).float() / 255
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
    with torch.inference_mode():
        batches = ((images - mean) / std).split(250)
        predicted = torch.cat([network(batch).argmax(1) for batch in batches])
    correct = (predicted.numpy() == data["y_test"]).mean() * 100
    assert correct == pytest.approx(top1, abs=0.05)
