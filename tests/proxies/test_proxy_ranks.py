"""NEAR against singular values by numpy."""

from __future__ import annotations

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


def rank(matrix: Any) -> float:
    """By numpy's singular values."""
    values = np.linalg.svd(np.asarray(matrix, dtype=np.float64), compute_uv=False)
    shares = values[values > 1e-7 * values[0]] / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum())) if values[0] > 0 else 0.0


def seen_outputs(network: nn.Module, images: Tensor) -> list[Any]:
    """Rows of images and positions, columns of channels, of every module that counts."""
    outputs = list[Any]()
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d | nn.ReLU):
            module.register_forward_hook(
                lambda m, i, o: outputs.append(
                    o.detach().numpy().reshape(len(o), o.shape[1], -1).transpose(0, 2, 1)
                )
            )
    network(images)
    return [each.reshape(-1, each.shape[2]).copy() for each in outputs]


@pytest.mark.parametrize("net", ["plain_a", "plain_c"])
def test_near_of_all_rows_written_out(golden: Any, net: str) -> None:
    matrices = seen_outputs(golden.network(net), golden.batch.images)
    assert len(matrices) > 4
    score = golden.measured(net, made("near", "rows=all"))
    assert score == pytest.approx(sum(map(rank, matrices)), rel=1e-5)


def test_near_takes_square_matrices(golden: Any) -> None:
    expected = 0.0
    matrices = seen_outputs(golden.network("plain_c"), golden.batch.images)
    for number, rows in enumerate(matrices):
        count, width = rows.shape
        start = 0
        if count > width:
            key = generator("near proxy", number, count, width)
            start = int(torch.randint(count - width + 1, (), generator=key))
        expected += rank(rows[start : start + width])
    score = golden.measured("plain_c", made("near"))
    assert score == pytest.approx(expected, rel=1e-5)
    assert score < golden.measured("plain_c", made("near", "rows=all"))


def test_rank_of_either_side_and_of_zeros() -> None:
    matrix = torch.randn(7, 3, generator=generator("matrix"))
    assert functional.activation_rank(matrix).item() == pytest.approx(rank(matrix), rel=1e-9)
    assert functional.activation_rank(matrix.T).item() == pytest.approx(rank(matrix), rel=1e-9)
    assert functional.activation_rank(matrix[:, :1].repeat(1, 5)).item() == pytest.approx(1)
    assert functional.activation_rank(torch.zeros(4, 4)) == 0


def test_near_needs_a_layer_and_allowed_rows() -> None:
    proxy, batch = made("near"), MiniBatch(torch.zeros(2, 3, 4, 4), torch.zeros(2).long())
    with proxy.observe(nn.Identity()) as seen, pytest.raises(ValueError, match="calls no layer"):
        proxy.measure(ProxyInput("a", 0, Cost(1, 1, 1), batch, observed=seen))
    with pytest.raises(UserError, match=r"^proxy\.near\.rows=some.*allowed are square, all"):
        made("near", "rows=some")
