"""VKDNW against its formula, with the Jacobians of single images."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from proxy_helpers import made
from torch import Tensor, nn

from diswot.data import MiniBatch
from diswot.keys import generator
from diswot.models.cells import CellNetwork
from diswot.models.init import Kaiming
from diswot.models.outputs import Cost
from diswot.models.resnet import CifarResNet
from diswot.proxies.base import Components, ProxyInput
from diswot.proxies.functional import decile_entropy, fisher_factor, fisher_spectrum
from diswot.proxies.passes import weights

IMAGES = torch.randn(5, 3, 8, 8, dtype=torch.float64, generator=generator("test images"))


def drawn(network: nn.Module, seed: int = 0) -> Any:
    Kaiming()(network.double(), seed=seed, role="student")
    return network.train()


def resnet(seed: int = 0) -> Any:
    return drawn(CifarResNet([1, 1], [8, 8, 16]), seed)


class Plain(nn.Sequential):
    """Grouped, dilated and strided convolutions, biases, ReLUs in place, a linear layer inside."""

    def __init__(self, classes: int) -> None:
        super().__init__(
            nn.Conv2d(3, 6, 3, stride=2, padding=1, groups=3),
            nn.ReLU(inplace=True),
            nn.Conv2d(6, 4, (3, 1), padding="same", dilation=2),
            nn.BatchNorm2d(4),
            nn.Flatten(2),
            nn.Linear(16, 5),
            nn.ReLU(inplace=True),
            nn.Flatten(),
            nn.Linear(20, classes),
        )


def measured(network: nn.Module, *settings: str, images: Tensor = IMAGES) -> Components:
    batch = MiniBatch(images, torch.arange(len(images)))
    shown = ProxyInput("a", 3, Cost(7, 11, 3), batch, network)
    return made("vkdnw", *settings).measure(shown)


def written_out(network: nn.Module, images: Tensor, per_layer: int) -> Components:
    """Of all weights each image's Jacobian, then the places that count."""
    network = deepcopy(network)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    network(images)
    network.eval()
    own = list(weights(network).values())
    key = generator("vkdnw proxy", 3, "mixtures")
    classes = network(images).shape[1]
    signs = torch.randint(2, (len(images), 10, classes), generator=key).double() * 2 - 1
    fisher = 0.0
    for image, mixture in zip(images, signs, strict=True):
        [logits] = network(image[None])
        rows = []
        for logit in logits:
            gradients = torch.autograd.grad(logit, own, retain_graph=True, materialize_grads=True)
            parts = []
            for each in gradients:
                count = min(per_layer, each.numel())
                parts += [each.flatten()[i * each.numel() // count] for i in range(count)]
            rows.append(torch.stack(parts))
        jacobian, shares = torch.stack(rows).numpy(), logits.softmax(0).detach().numpy()
        if classes <= 10:
            weight = np.diag(shares) - np.outer(shares, shares)
        else:  # as the mean over the mixtures of what Rademacher signs leave of it
            root = np.diag(np.sqrt(shares)) - np.outer(np.sqrt(shares), shares)
            mixed = mixture.numpy() @ root
            weight = mixed.T @ mixed / 10
        fisher = fisher + jacobian.T @ weight @ jacobian / len(images)
    deciles = np.quantile(np.linalg.eigvalsh(fisher), np.arange(1, 10) / 10).clip(min=1e-300)
    shares = deciles / deciles.sum()
    return {"layers": float(len(own)), "entropy": float(-(shares * np.log(shares)).sum())}


@pytest.mark.parametrize("per_layer", [1, 3])
@pytest.mark.parametrize("build", [resnet, lambda: drawn(Plain(4)), lambda: drawn(Plain(12))])
def test_it_is_the_formula(build: Any, per_layer: int) -> None:
    settings = ("inputs=images", "init=run", f"per_layer={per_layer}")
    expected = written_out(build(), IMAGES, per_layer)
    assert measured(build(), *settings) == pytest.approx(expected, rel=1e-6)
    assert 0 < expected["entropy"] < np.log(9)


def test_by_default_inputs_and_weights_are_drawn_from_the_seed() -> None:
    noise = torch.randn(IMAGES.shape, generator=generator("vkdnw proxy", 3)).double()
    expected = written_out(resnet(3), noise, 1)
    assert measured(resnet()) == measured(resnet(5)) == pytest.approx(expected, rel=1e-6)
    first = measured(resnet(), "images=3", "inputs=images")
    assert first == measured(resnet(), "inputs=images", images=IMAGES[:3])
    assert first != measured(resnet(), "inputs=images")
    [score] = made("vkdnw").fitness([first])
    assert score == first["layers"] + first["entropy"]


def test_the_factor_is_a_root_of_the_covariance_also_where_predictions_are_certain() -> None:
    logits = torch.tensor([[800.0, 0.0, -800.0], [1.0, 2.0, 3.0]])
    factor, shares = fisher_factor(logits), logits.double().softmax(1)
    covariance = torch.diag_embed(shares) - shares[:, :, None] * shares[:, None]
    assert torch.allclose(factor.mT @ factor, covariance, atol=1e-15)


def test_weights_without_effect_are_eigenvalues_of_zero() -> None:
    rows = torch.randn(30, 3, generator=generator("test rows")) @ torch.ones(3, 7)
    spectrum = fisher_spectrum(rows, 30)
    assert (spectrum > 0).tolist() == [False] * 6 + [True]
    wide = fisher_spectrum(torch.eye(2, 5), 1)
    assert wide.tolist() == [0, 0, 0, 1, 1]
    with pytest.raises(ValueError, match="nine in ten"):
        decile_entropy(torch.tensor([0.0] * 19 + [1.0]))
    with pytest.raises(ValueError, match="not finite"):
        decile_entropy(torch.tensor([1.0, float("nan")]))


def test_a_network_without_any_way_through_has_no_score() -> None:
    with pytest.raises(ValueError, match="nine in ten"):
        measured(drawn(CellNetwork(["none"] * 6, widths=(4, 8), cells=1)))
