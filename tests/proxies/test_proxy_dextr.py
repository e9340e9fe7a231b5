"""Dextr against singular values by numpy and derivatives by differences."""

from __future__ import annotations

from math import log
from typing import Any

import numpy as np
import pytest
import torch
from proxy_helpers import made
from torch import Tensor, nn

from diswot.errors import UserError
from diswot.keys import generator
from diswot.proxies import functional


def circle(shape: Any, angles: Tensor, seed: int = 0) -> Tensor:
    """Images on it, by an orthonormal basis of numpy's."""
    drawn = [
        torch.randn(shape, generator=generator("dextr proxy", seed, which)).double().flatten()
        for which in ("first", "second")
    ]
    basis, signs = np.linalg.qr(torch.stack(drawn, dim=1).numpy())
    plane = torch.from_numpy(basis * np.sign(np.diag(signs)))
    along = torch.stack([angles.cos(), angles.sin()], dim=1)
    return (along @ plane.T * plane.shape[0] ** 0.5).view(-1, *shape)


def bent(network: nn.Module, shape: Any, points: int, step: float) -> list[float]:
    """The logits' curvature at each point: that of the circle through three points nearby."""
    angles = torch.arange(points).double() * 2 * torch.pi / points
    with torch.no_grad():
        a, b, c = (network(circle(shape, angles + turn)) for turn in (-step, 0.0, step))
    one, two, three = (x.norm(dim=1) for x in (b - a, c - b, c - a))
    half = (one + two + three) / 2
    area = (half * (half - one) * (half - two) * (half - three)).clamp_min(0).sqrt()
    return list((4 * area / (one * two * three)).tolist())


def test_dextr_written_out(golden: Any) -> None:
    network, proxy = golden.network("plain_c"), made("dextr")
    for path, module in list(network.named_modules()):
        if isinstance(module, nn.ReLU):  # without kinks differences converge
            network.add_module(path, nn.Softplus())
        elif isinstance(module, nn.MaxPool2d):
            network.add_module(path, nn.AvgPool2d(module.kernel_size, module.stride))
    inputs = golden.inputs("plain_c", proxy, network=network)
    conditions = 0.0
    for call in inputs.layers:
        if isinstance(call.module, nn.Conv2d):
            matrix = call.output[0].detach().flatten(1).numpy()
            values = np.linalg.svd(matrix, compute_uv=False)
            conditions += values[-1] / values[0]
    kappa = np.mean(bent(inputs.copy(), inputs.batch.images.shape[1:], 4, 1e-3))
    one, other = log(1 + conditions), log(1 + kappa)
    [score] = proxy.measure(inputs).values()
    assert score == pytest.approx(one * other / (one + other), rel=1e-4)


def test_velocity_of_a_network_with_relus(golden: Any) -> None:
    network = golden.network("plain_a")
    shape = golden.batch.images.shape[1:]
    images = tuple(
        torch.randn(shape, generator=generator("dextr proxy", 0, which)).double()
        for which in ("first", "second")
    )
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = module.running_var = module.num_batches_tracked = None
    velocity, _ = functional.circle_curvature(network, (images[0], images[1]), 3)
    angles, step = torch.arange(3).double() * 2 * torch.pi / 3, 1e-7
    there, here = (network(circle(shape, angles + turn)) for turn in (step, -step))
    torch.testing.assert_close(velocity, (there - here) / (2 * step), rtol=1e-4, atol=1e-6)


def test_logits_that_do_not_depend_on_the_images(golden: Any) -> None:
    network, proxy = golden.network("plain_a"), made("dextr")
    nn.init.zeros_(network.classifier.weight)
    with pytest.raises(ValueError, match="the logits do not depend on the images"):
        golden.measured("plain_a", proxy, network=network)


def test_condition_of_maps() -> None:
    tall = torch.randn(9, 2, 3, generator=generator("maps"))
    values = np.linalg.svd(tall.flatten(1).numpy().astype(np.float64), compute_uv=False)
    expected = pytest.approx(values[-1] / values[0], rel=1e-9)
    assert functional.inverse_condition(tall).item() == expected
    assert functional.inverse_condition(tall.flatten(1).T.reshape(6, 9, 1)).item() == expected
    assert functional.inverse_condition(torch.zeros(3, 2, 2)) == 0


def test_the_number_of_points_is_checked() -> None:
    with pytest.raises(UserError, match=r"^proxy\.dextr\.points=1\b.*at least 2"):
        made("dextr", "points=1")
