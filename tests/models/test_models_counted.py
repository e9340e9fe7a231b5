"""Costs of timm's models, kept in the user's cache directory."""

from pathlib import Path

import pytest
import torch

from diswot.models import counted
from diswot.models.counted import CostTable
from diswot.models.outputs import Cost, count_flops, count_layers, count_params
from diswot.models.zoo import own_size, timm_network


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "diswot"


def of_network(model: str, classes: int, channels: int, side: int) -> Cost:
    with torch.device("meta"):
        network = timm_network(model, num_classes=classes, in_channels=channels, image_size=side)
    flops = count_flops(network, (channels, side, side))
    return Cost(count_params(network), flops, count_layers(network))


@pytest.mark.parametrize("model", ["test_vit", "test_resnet"])
def test_costs_are_those_of_the_network(model: str) -> None:
    assert CostTable().cost(model, 7, (1, 32, 32)) == of_network(model, 7, 1, 32)
    assert CostTable().cost(model, 10, (3, 64, 64)) == of_network(model, 10, 3, 64)


def test_another_process_reads_them(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = CostTable().cost("test_resnet", 10, (3, 32, 32))
    [file] = cache.iterdir()
    with file.open("a") as stream:
        stream.write('{"model": "cut off", "par')
    monkeypatch.setattr(counted, "_counted", lambda *_: pytest.fail("counted again"))
    assert CostTable().cost("test_resnet", 10, (3, 32, 32)) == first


def test_without_a_place_to_keep_them(cache: Path) -> None:
    cache.write_text("in the way")
    cost = CostTable().cost("test_resnet", 10, (3, 32, 32))
    assert cost == of_network("test_resnet", 10, 3, 32)


def test_of_images_it_does_not_run_on_the_own_size_counts() -> None:
    own = own_size("inception_v3")
    small = CostTable().cost("inception_v3", 10, (3, 16, 16))
    assert small == of_network("inception_v3", 10, 3, own)
