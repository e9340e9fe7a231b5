"""SWAP against patterns written as strings, and what it refuses."""

from __future__ import annotations

from math import exp, log
from typing import Any

import numpy as np
import pytest
import torch
from proxy_helpers import made
from torch import Tensor, nn

from diswot.data import MiniBatch
from diswot.errors import UserError
from diswot.keys import generator
from diswot.models.outputs import Cost
from diswot.proxies import functional
from diswot.proxies.base import ProxyInput

NETWORK = nn.Sequential(nn.ReLU(), nn.Flatten(), nn.ReLU6())


def observed(name: str, images: Tensor, params: int = 1, *settings: str) -> float:
    proxy = made(name, *settings)
    with proxy.observe(NETWORK) as seen:
        NETWORK(images)
    batch = MiniBatch(images, torch.zeros(len(images)).long())
    inputs = ProxyInput("a", 0, Cost(params, 1, 1), batch, NETWORK, observed=seen)
    [value] = proxy.measure(inputs).values()
    return value


def strings(maps: Tensor) -> set[str]:
    """Each unit's pattern, a letter an image."""
    units = maps.flatten(1).T
    return {"".join("1" if value > 0 else "0" for value in unit.tolist()) for unit in units}


@pytest.mark.parametrize("batch", [1, 3, 8, 9, 63, 64, 65, 130])
def test_patterns_are_counted_once_whatever_the_number_of_images(batch: int) -> None:
    draw = generator("patterns", batch)
    units = torch.randint(-1, 2, (batch, 40), generator=draw).float()
    maps = units[:, torch.randint(40, (90,), generator=draw)].view(batch, 10, 3, 3)
    codes = functional.sample_patterns(maps)
    assert codes.shape == (len(strings(maps)), -(-batch // 64))
    last = codes.view("u8")
    seen = {"".join(f"{word:064b}"[::-1] for word in row)[:batch] for row in last.tolist()}
    assert seen == strings(maps)
    more = torch.cat([maps, maps.neg()], dim=1)
    both = [codes, functional.sample_patterns(maps.neg())]
    assert functional.distinct_patterns(both) == len(strings(more))
    lasting = maps.contiguous(memory_format=torch.channels_last)
    np.testing.assert_array_equal(functional.sample_patterns(lasting), codes)


def test_swap_of_a_golden_network(golden: Any) -> None:
    network, seen = golden.network("plain_c"), set[str]()
    for module in network.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_pre_hook(lambda m, i: seen.update(strings(i[0])))
    network(golden.batch.images)
    assert golden.measured("plain_c", made("swap")) == len(seen) > 1


def test_swap_pools_the_units_of_all_layers() -> None:
    images = torch.tensor([[[[1.0, -1.0]]], [[[2.0, 3.0]]]])
    # The second ReLU sees 1, 0 and 2, 3: the same two patterns again.
    assert observed("swap", images) == 2


def test_regularised_swap_is_the_logarithm_of_the_published_score() -> None:
    images = torch.randn(5, 3, 4, 4, generator=generator("test images"))
    settings = ("mu=300", "sigma=40")
    score = observed("swap_regularised", images, 305_000, *settings)
    published = observed("swap", images) * exp(-((305 - 300) ** 2) / 40)
    assert score == pytest.approx(log(published), rel=1e-12)
    far = observed("swap_regularised", images, 9_000_000, *settings)
    assert far < observed("swap_regularised", images, 8_000_000, *settings)


def test_a_network_without_relus_has_no_score() -> None:
    for name in ("swap", "swap_regularised"):
        proxy, batch = made(name), MiniBatch(torch.zeros(2, 3, 4, 4), torch.zeros(2).long())
        with proxy.observe(nn.Identity()) as seen, pytest.raises(ValueError, match=r"no nn\.ReLU"):
            proxy.measure(ProxyInput("a", 0, Cost(1, 1, 1), batch, observed=seen))


@pytest.mark.parametrize(
    ("setting", "message"), [("mu=-1", "at least 0"), ("sigma=0", "give a positive number")]
)
def test_bad_settings_are_refused(setting: str, message: str) -> None:
    name = "swap_regularised"
    with pytest.raises(UserError, match=rf"^proxy\.{name}\.{setting}\b.*{message}"):
        made(name, setting)
