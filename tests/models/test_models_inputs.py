"""A teacher's own input: the arithmetic, and that all else of the network stays."""

import copy

import pytest
import torch
from models_helpers import TINY, Json
from torch.nn import functional as F

from diswot.commands import compose
from diswot.config import make
from diswot.data.base import EvalTransform, ImageData
from diswot.errors import UserError
from diswot.models import Network
from diswot.models.inputs import OwnInput, own_input
from diswot.models.outputs import count_flops
from diswot.models.resnet import CifarResNet
from diswot.teaching import build_teacher, teacher_cost

GIVEN = EvalTransform(32, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def data() -> ImageData:
    words = ["data=gaussian", "data.image_size=16", "data.length=8"]
    return make(compose("train", words, None)["data"], "data", ImageData)


@pytest.mark.parametrize("size", [32, 24, 48])
def test_images_are_as_if_they_were_made_for_the_network(size: int) -> None:
    torch.manual_seed(1)
    network = CifarResNet([1, 1, 1], [4, 4, 8, 8]).eval()
    mean, std = [0.1, 0.2, 0.9], [0.5, 1.0, 2.0]
    own = own_input({"name": "x", "input": {"image_size": size, "mean": mean, "std": std}}, GIVEN)
    wrapped = OwnInput(network, GIVEN, own)
    resized = F.interpolate(IMAGES, (size, size), mode="bilinear", antialias=True)
    expected = network.outputs(
        (resized - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    )
    seen = wrapped.outputs(GIVEN.normalize(IMAGES))
    torch.testing.assert_close(seen.logits, expected.logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(seen.stages[-1], expected.stages[-1], rtol=1e-4, atol=1e-5)
    assert torch.equal(wrapped(GIVEN.normalize(IMAGES)), seen.logits)


def test_names_parameters_and_mode_are_the_networks() -> None:
    network = CifarResNet([1, 1, 1], [4, 4, 8, 8])
    wrapped = OwnInput(network, GIVEN, own_input({"name": "x", "input": {"image_size": 8}}, GIVEN))
    assert isinstance(wrapped, Network)
    assert wrapped.state_dict().keys() == network.state_dict().keys()
    assert wrapped.classifier is network.fc
    wrapped.eval().requires_grad_(False)
    assert not any(module.training for module in network.modules())
    assert not network.conv1.weight.requires_grad
    twin = copy.deepcopy(wrapped).double()
    assert twin(IMAGES.double()).dtype == torch.float64
    assert network.conv1.weight.dtype == torch.float32


def test_a_teacher_is_built_and_counted_at_its_own_size() -> None:
    images = data()
    plain = build_teacher(TINY, images)
    assert isinstance(plain, CifarResNet)
    same = {"image_size": 16, "mean": list(images.mean), "std": None}
    assert isinstance(build_teacher({**TINY, "input": same}, images), CifarResNet)
    large: Json = {**TINY, "input": {"image_size": 32}}
    wrapped, cost = build_teacher(large, images), teacher_cost(large, 10, images.image_shape)
    assert isinstance(wrapped, OwnInput)
    assert cost is not None
    assert cost.flops == count_flops(plain, (3, 32, 32)) == count_flops(wrapped, (3, 16, 16))
    vit = compose("train", ["teacher=timm", "teacher.name=test_vit"], None)["teacher"]
    built = build_teacher({**vit, "input": {"image_size": 48}}, images)
    assert built.state_dict()["pos_embed"].shape[1] == 1 + 3 * 3
    assert built(torch.zeros(2, 3, 16, 16)).shape == (2, 10)


def test_timm_knows_what_its_models_were_trained_with() -> None:
    vit = {"name": "v", "input": "timm", "network": {"model": "vit_base_patch16_clip_224.openai"}}
    own = own_input(vit, GIVEN)
    assert own.image_size == 224
    assert own.mean == (0.48145466, 0.4578275, 0.40821073)  # of CLIP's own preprocessing
    assert own.std == (0.26862954, 0.26130258, 0.27577711)


@pytest.mark.parametrize(
    ("node", "problem"),
    [
        ({"image_size": 0}, r"^teacher\.input\.image_size=0 .*at least 8"),
        ({"std": [0.1, 0, 1]}, r"^teacher\.input\.std=.* 1 or 3 positive numbers"),
        ({"mean": "grey"}, r"^teacher\.input\.mean=grey "),
        ({"size": 3}, r"^teacher\.input: size is not known; give timm, or image_size, mean, std"),
        ("clip", r"^teacher\.input: clip is not known"),
        ("timm", r"^teacher\.input=timm: tiny is no model of timm"),
    ],
)
def test_wrong_settings(node: object, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        own_input({**TINY, "input": node}, GIVEN)


def test_no_yaml_of_a_teacher_has_to_name_it() -> None:
    words = ["teacher=resnet8", "teacher.input.image_size=64", "teacher.input.mean=[0.5]"]
    for command in ("train", "search", "rank", "race", "probe"):
        config = compose(command, words, None)
        assert config["teacher"]["input"] == {"image_size": 64, "mean": [0.5]}
        assert "input" not in compose(command, words[:1], None)["teacher"]
