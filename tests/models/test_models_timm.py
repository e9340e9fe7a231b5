"""Models of timm, whose layers are found."""

from pathlib import Path
from typing import Any

import pytest
import torch

from diswot.checkpoint import build_student, describe_student, load_student, save_student
from diswot.config import conf_dir, member_node
from diswot.errors import UnfitError, UserError
from diswot.models import Network
from diswot.models.zoo import timm_network, timm_parts


def path(pattern: str, *numbers: int) -> list[str]:
    return [pattern.format(number) for number in numbers]


@pytest.mark.parametrize(
    ("model", "stages", "classifier"),
    [
        ("resnet18", path("layer{}", 1, 2, 3, 4), "fc"),
        ("test_resnet", path("layer{}", 1, 2, 3, 4), "fc"),
        ("test_efficientnet", [*path("blocks.{}", 1, 2, 3), "bn2"], "classifier"),
        ("test_vit", path("blocks.{}", 0, 2, 3, 5), "head"),
        ("test_convnext", path("stages.{}", 0, 1, 2, 3), "head.fc"),
        ("mobilenetv3_small_050", [*path("blocks.{}", 1, 3, 5), "conv_head"], "classifier"),
    ],
)
def test_layers_are_found(model: str, stages: list[str], classifier: str) -> None:
    assert timm_parts(model) == (stages, classifier)


@pytest.mark.parametrize(
    ("model", "sides"),
    [
        ("test_efficientnet", (8, 4, 2, 1)),
        ("test_vit", (2, 2, 2, 2)),
        ("swin_tiny_patch4_window7_224", (8, 4, 2, 1)),  # channels last
        ("test_maxvit", (8, 4, 2, 1)),
    ],
)
def test_maps_of_any_model_are_of_the_data_s_size(model: str, sides: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    network = timm_network(model, num_classes=5, in_channels=1, image_size=32).eval()
    images = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        outputs, logits = network.outputs(images), network(images)
    assert isinstance(network, Network)
    assert torch.equal(outputs.logits, logits)
    torch.testing.assert_close(network.classifier(outputs.embedding), logits)
    assert tuple(stage.shape[-1] for stage in outputs.stages) == sides
    assert outputs.stages[-1].shape[:2] == (2, network.classifier.in_features)


def test_a_model_built_for_one_size_has_as_many_tokens_as_its_images() -> None:
    with torch.device("meta"):
        own = timm_network("test_vit")
        small = timm_network("test_vit", image_size=32)
    assert (own.pos_embed.shape[1], small.pos_embed.shape[1]) == (101, 5)


def test_networks_draw_nothing_in_training_mode() -> None:
    network = timm_network("test_efficientnet", image_size=32).train()
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(network(images), network(images))


@pytest.mark.parametrize(
    ("model", "image_size", "message"),
    [
        ("resnet19", 32, "timm has no 'resnet19'; nearest: .*resnet18"),
        ("inception_v3", 32, r"does not run on images of 32×32 .*: data.image_size=299"),
        ("deit_tiny_distilled_patch16_224", 32, "not what a Linear gives.*two heads"),
        ("crossvit_tiny_240", None, "not what a Linear gives"),
    ],
)
def test_models_that_cannot_be_used(model: str, image_size: int | None, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        timm_network(model, image_size=image_size)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, UnfitError) == (model != "resnet19")


def test_named_layers_are_taken() -> None:
    with torch.device("meta"):
        network = timm_network("test_vit", stages=["blocks.1"], image_size=32)
        assert network.stage_paths == ("blocks.1",)
        one = timm_network("test_resnet", ["layer4"], "fc", image_size=32)
    assert one.stage_paths == ("layer4",)


@pytest.mark.parametrize("kind", ["network", "arch"])
def test_a_student_is_loaded_for_the_images_it_was_trained_on(tmp_path: Path, kind: str) -> None:
    fixed = member_node("teacher", "timm", [conf_dir()])
    fixed["network"]["model"] = "test_vit"
    drawn = {"name": "arch", "arch": "timm:test_vit", "weights": "none"}
    space = member_node("space", "timm", [conf_dir()])
    config: dict[str, Any] = {"student": fixed if kind == "network" else drawn, "space": space}
    student = build_student(config["student"], space, 5, 3, 48).eval()
    sizes = {"num_classes": 5, "in_channels": 3, "image_size": 48}
    description = describe_student(config, **sizes, mean=[0.0] * 3, std=[1.0] * 3)
    save_student(student, tmp_path, description)
    images = torch.randn(2, 3, 48, 48)
    assert torch.equal(load_student(tmp_path)(images), student(images))


def test_descriptions_of_earlier_versions_build() -> None:
    node = {"_target_": "diswot.models.zoo.timm_network", "model": "test_resnet"}
    node |= {"stages": ["layer1", "layer4"], "classifier": "fc"}
    spec = {"name": "timm_test_resnet", "network": node, "weights": "none"}
    assert build_student(spec, None, 5, 3, 32)(torch.randn(2, 3, 32, 32)).shape == (2, 5)
