"""Loading weights: every accepted layout, and everything that is refused."""

import copy
import hashlib
import os
import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed
from timm.models import VisionTransformer
from torch import Tensor, nn

from diswot.errors import UserError
from diswot.models.adapter import AdaptedNetwork
from diswot.models.resnet import CifarResNet, WideResNet
from diswot.models.weights import load_weights, untrained_classifier
from diswot.models.zoo import TimmSource, TorchvisionSource, timm_network

State = dict[str, Tensor]


def build(shortcut: str = "B", num_classes: int = 10) -> CifarResNet:
    return CifarResNet([1, 1, 1], [4, 4, 8, 8], shortcut, num_classes)


def load(network: nn.Module, weights: Path | str, name: str = "tiny") -> None:
    load_weights(network, str(weights), name=name, setting="teacher.weights")


def renamed(state: State, old: str, new: str) -> State:
    return {name.replace(old, new): value for name, value in state.items()}


def equal(one: nn.Module, other: nn.Module) -> bool:
    state = other.state_dict()
    return all(torch.equal(value, state[name]) for name, value in one.state_dict().items())


def refusal(path: Path | str, network: nn.Module | None = None) -> str:
    network = network or build()
    before = copy.deepcopy(network)
    with pytest.raises(UserError) as caught:
        load(network, path)
    assert equal(network, before)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("teacher.weights: ")
    return str(caught.value)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".safetensors"])
def test_round_trip(tmp_path: Path, suffix: str) -> None:
    source, target, path = build(), build(), tmp_path / f"weights{suffix}"
    save: Callable[[State, Path], object] = save_file if suffix == ".safetensors" else torch.save
    save(source.state_dict(), path)
    before = copy.deepcopy(target)
    load(target, "none")
    assert equal(target, before)
    load(target, path)
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
    load(target, tmp_path / "weights.pt")
    assert equal(target, source)


def test_names_of_crds_wide_networks(tmp_path: Path) -> None:
    source, target = WideResNet(10, 1), WideResNet(10, 1)
    state = {
        re.sub(r"^layer(\d)\.", r"block\1.layer.", name).replace("shortcut", "convShortcut"): value
        for name, value in source.state_dict().items()
    }
    assert "block2.layer.0.convShortcut.weight" in state
    torch.save({"model": state, "epoch": 240}, tmp_path / "wrn.pth")
    load(target, tmp_path / "wrn.pth")
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


def test_state_dicts_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"

    def refused(content: object) -> str:
        torch.save(content, path)
        return refusal(path)

    assert "'conv1.weight' is a int, not a tensor" in refused({"conv1.weight": 3})
    assert "holds no state dict" in refused(torch.zeros(3))
    assert "holds no state dict" in refused({})

    state = build().state_dict()
    assert "lacks bn1.bias" in refused({n: v for n, v in state.items() if n != "bn1.bias"})
    assert "adds extra" in refused({**state, "extra": torch.zeros(1)})
    assert "has bn1.bias (3,) instead of (4,)" in refused({**state, "bn1.bias": torch.zeros(3)})
    assert "classifies 100 classes, num_classes is 10" in refused(build("B", 100).state_dict())
    assert "teacher.network.shortcut=A or B" in refused(build("A").state_dict())
    torch.save(state, path)
    assert "teacher.network.shortcut=A or B" in refusal(path, build("A"))
    assert " more" in refused({"fc.weight": state["fc.weight"]})


def test_weights_without_a_classifier_that_fits(tmp_path: Path) -> None:
    """The rest is loaded where that is allowed; the classifier is zero, and it says why."""
    path, source = tmp_path / "weights.pt", build("B", 100)
    of_others = source.state_dict()
    none = {name: value for name, value in of_others.items() if not name.startswith("fc.")}
    kept = build()
    for state, problem in (
        (none, "holds no classifier"),
        ({**none, "head.weight": torch.ones(7, 8)}, "classifies 7 classes, num_classes is 10"),
        (of_others, "classifies 100 classes, num_classes is 10"),
    ):
        torch.save(state, path)
        assert problem in refusal(path, kept)
        network = build()
        load_weights(
            network, str(path), name="tiny", setting="teacher.weights", without_classifier=True
        )
        assert untrained_classifier(network) == problem
        assert torch.equal(network.conv1.weight, source.conv1.weight)
        assert not network.fc.weight.any()
        assert not network.fc.bias.any()
    torch.save({name: value for name, value in none.items() if name != "bn1.bias"}, path)
    with pytest.raises(UserError, match=r"lacks bn1\.bias$"):
        load_weights(
            build(), str(path), name="tiny", setting="teacher.weights", without_classifier=True
        )
    torch.save(kept.state_dict(), path)
    load(network, path)
    assert untrained_classifier(network) is None


def test_original_checkpoints_and_images_of_another_size_of_timm(tmp_path: Path) -> None:
    """DINOv2's own file has a mask token; position embeddings are those timm resamples itself."""
    model = timm_network("vit_tiny_patch16_224", num_classes=4, image_size=48)
    other = timm_network("vit_tiny_patch16_224", num_classes=4, image_size=32)
    torch.save({**model.state_dict(), "mask_token": torch.zeros(1, 192)}, tmp_path / "dino.pth")
    load(other, tmp_path / "dino.pth")
    own = model._model.pos_embed
    expected = resample_abs_pos_embed(own, [2, 2], num_prefix_tokens=1)
    assert torch.equal(other._model.pos_embed, expected)
    assert torch.equal(other.classifier.weight, model.classifier.weight)
    torch.save({"head.weight": torch.ones(4, 192)}, tmp_path / "dino.pth")
    assert "does not fit the network" in refusal(tmp_path / "dino.pth", other)


@pytest.mark.parametrize("clip", [False, True])
def test_patch_embeddings_are_not_resampled(tmp_path: Path, clip: bool) -> None:
    """Timm would do so, also to CLIP's own files, where the patch embedding has another name."""

    def vit(patch: int, side: int) -> AdaptedNetwork:
        layout: Any = {"embed_dim": 12, "depth": 1, "num_heads": 2, "pre_norm": clip}
        model = VisionTransformer(side, patch, num_classes=4, **layout)
        return AdaptedNetwork(model, ["blocks.0"], "head", source=TimmSource("vit"))

    source, path = vit(4, 16), tmp_path / "vit.pth"
    state: State = source._model.state_dict()
    if clip:
        state["class_embedding"] = state.pop("cls_token")[0, 0]
        state["positional_embedding"] = state.pop("pos_embed")[0]
        state["conv1.weight"] = state.pop("patch_embed.proj.weight")
        state = {f"visual.{name}": value for name, value in state.items()}
    torch.save(state, path)
    larger = vit(4, 24)
    load(larger, path)
    assert torch.equal(larger._model.patch_embed.proj.weight, source._model.patch_embed.proj.weight)
    theirs = "" if clip else " instead of (12, 3, 4, 4)"
    assert refusal(path, vit(8, 16)) == (
        f"teacher.weights: {path} is of another model: patch_embed.proj.weight would be resampled "
        f"to (12, 3, 8, 8){theirs}"
    )


def test_names_that_lead_nowhere(tmp_path: Path) -> None:
    for absent in (tmp_path / "absent.pt", "absent.pt", "runs/absent"):
        assert refusal(absent) == f"teacher.weights: there is no file {absent}"
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
    load(target, "embedded")
    assert torch.equal(source.fc.weight, target.fc.weight)
    with pytest.raises(UserError, match="no weights for 'other'; embedded are: tiny"):
        load(target, "embedded", "other")
    save_file(build().state_dict(), assets / "tiny.safetensors")
    assert "but SHA256SUMS says" in refusal("embedded")
    (assets / "SHA256SUMS").write_text("")
    assert "nothing about it" in refusal("embedded")


def test_run_directories(tmp_path: Path) -> None:
    source, target = build(), build()
    assert f"the folder {tmp_path} holds no student.safetensors" in refusal(tmp_path)
    save_file(source.state_dict(), tmp_path / "student.safetensors")
    load(target, tmp_path)
    assert equal(target, source)


class FakeSource(dict):
    """A source whose network is down for one tag."""

    def tags(self) -> tuple[str, ...]:
        return ("V1", "down")

    def fetch(self, tag: str) -> State:
        if tag == "down":
            raise URLError("Name or service\nnot known")
        return self


def test_tags() -> None:
    state, other = build().state_dict(), build("B", 1000).state_dict()
    network, wide = (
        AdaptedNetwork(build(), ["layer1"], "fc", source=FakeSource(s)) for s in (state, other)
    )
    load(network, "V1")
    assert torch.equal(network.classifier.weight, state["fc.weight"])
    failed = "down failed to download (<urlopen error Name or service not known>)"
    assert failed in refusal("down", network)
    assert "'V2' is not none, embedded" in refusal("V2", network)
    assert "classifies 1000 classes" in refusal("V1", wide)


def test_published_tags_are_listed_without_a_connection() -> None:
    assert TorchvisionSource("resnet50").tags() == ("IMAGENET1K_V1", "IMAGENET1K_V2")
    assert "a1_in1k" in TimmSource("resnet18").tags()


@pytest.mark.data
def test_a_trained_cifar10_network_reaches_its_accuracy(data_root: Path) -> None:
    network = CifarResNet([3, 3, 3], [16, 16, 32, 64], shortcut="A").eval()
    load(network, data_root / "teachers" / "cifar10_resnet20_shortcutA.pt")
    data = np.load(data_root / "cifar10" / "cifar10_mini.npz", allow_pickle=False)
    images = torch.from_numpy(data["x_test"]).float() / 255
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
    with torch.inference_mode():
        batches = ((images - mean) / std).split(250)
        predicted = torch.cat([network(batch).argmax(1) for batch in batches])
    correct = (predicted.numpy() == data["y_test"]).mean() * 100
    assert correct == pytest.approx(91.5, abs=0.05)
