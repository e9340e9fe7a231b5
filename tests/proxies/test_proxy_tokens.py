"""Proxies on networks of tokens, whose linear layers have their channels last."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from proxy_helpers import Company, made
from torch import Tensor, nn
from torch.nn import functional as F

from diswot.data import MiniBatch
from diswot.models.init import Kaiming
from diswot.models.outputs import Cost
from diswot.models.transformers import BlockShape, PatchTransformer
from diswot.proxies import Proxy
from diswot.proxies.base import ProxyInput
from diswot.proxies.functional import activation_rank, fisher
from diswot.proxies.passes import Gradients, channels_first, record_layers
from diswot.scoring.runtime import Runtime, forward


def network() -> PatchTransformer:
    made = PatchTransformer([[BlockShape(12, 3, 2.0)] * 3], 16, 10)
    Kaiming()(made, seed=0, role="student")
    return made


def batch() -> MiniBatch:
    images = torch.randn(6, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    return MiniBatch(images, torch.arange(6))


def score(proxy: Proxy) -> float:
    """Of the mini-batch, as the scorer has it measured."""
    student, given = network(), batch()
    passed = forward(student, {proxy.name: proxy}, given, Runtime())
    inputs = ProxyInput("a", 0, Cost(1, 1, 1), given, student, passed.outputs, passed.layers)
    object.__setattr__(inputs, "observed", passed.observed[proxy.name])
    with torch.no_grad():
        [value] = proxy.measure(inputs).values()
    return value


def linear_outputs() -> list[tuple[nn.Linear, Tensor]]:
    """Of the layers on tokens, ``(B, N, C)``, in order."""
    student, calls = network(), []
    for name, module in student.named_modules():
        if isinstance(module, nn.Linear) and name != "fc":
            module.register_forward_hook(lambda m, i, output: calls.append((m, output)))
    with torch.no_grad():
        student(batch().images)
    return calls


def width_of(rows: Tensor) -> float:
    matrix = np.corrcoef(rows.double().numpy(), rowvar=False)
    return float(len(matrix) ** 2 / (matrix**2).sum())


def test_effective_width_counts_linear_layers_on_tokens_but_not_the_classifier() -> None:
    student = network()
    with torch.no_grad():
        patches = student.patch_embed(batch().images).movedim(1, -1).flatten(0, 2)
    expected = 12 * width_of(patches)
    for module, output in linear_outputs():
        expected += module.out_features * width_of(output.flatten(0, 1))
    assert score(made("effective_width", "inputs=images")) == pytest.approx(expected, rel=1e-5)


def test_near_takes_tokens_as_rows() -> None:
    expected = 0.0
    student = network()

    def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal expected
        rows = output.movedim(1, -1) if output.ndim == 4 else output
        expected += activation_rank(rows.reshape(-1, rows.shape[-1])).item()

    kinds = (nn.Conv2d, nn.Linear, nn.LayerNorm, nn.GELU)
    for module in student.modules():
        if isinstance(module, kinds):
            module.register_forward_hook(add)
    with torch.no_grad():
        student(batch().images)
    assert score(made("near", "rows=all")) == pytest.approx(expected, rel=1e-5)


def test_gradients_of_tokens_have_their_channels_where_the_outputs_have() -> None:
    student, given = network(), batch()
    with record_layers(student) as layers:
        logits = student(given.images)
    gradients = Gradients(student, given, logits, layers).outputs
    assert [g.shape for g in gradients] == [layer.output.shape for layer in layers]
    fc1 = next(place for place, layer in enumerate(layers) if layer.name.endswith("0.mlp.fc1"))
    assert layers[fc1].output.shape == (6, 24, 9)
    raw = layers[fc1].called()[1]
    [expected] = torch.autograd.grad(F.cross_entropy(logits, given.labels), raw)
    assert torch.equal(gradients[fc1], expected.mT)
    value = fisher(layers[fc1].output, gradients[fc1])
    products = (raw * expected).double().sum(1)
    torch.testing.assert_close(value, products.square().mean(0) / 2)
    assert layers[fc1].detached().output.shape == (6, 24, 9)


def test_what_counts_as_tokens() -> None:
    linear, conv = nn.Linear(4, 4), nn.Conv2d(4, 4, 1)
    assert channels_first(linear, torch.zeros(2, 9, 4)).shape == (2, 4, 9)
    assert channels_first(linear, torch.zeros(2, 3, 5, 4)).shape == (2, 4, 3, 5)
    for module, shape in ((linear, (2, 4)), (conv, (2, 4, 3, 3))):
        tensor = torch.zeros(shape)
        assert channels_first(module, tensor) is tensor


def test_transformers_have_no_progressivity(company_on: Callable[[str], Company]) -> None:
    for space in ("autoformer", "pit"):
        [*parts] = company_on(space).components("az_nas")[0]
        assert parts == ["expressivity", "trainability", "complexity"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nwot", "the network calls no nn.ReLU or nn.ReLU6 module"),
        ("te_nas", "the network has no nn.ReLU or nn.ReLU6 module to count regions of"),
        ("zen", "LayerNorm keeps no statistics"),
        ("log_synflow", "LayerNorm turns gradients negative"),
        ("auto_das", "only 1 of 14 layers are convolutions"),
    ],
)
def test_what_makes_no_sense_says_why(
    company_on: Callable[[str], Company], name: str, reason: str
) -> None:
    assert f"ValueError: {reason}" in company_on("autoformer").measured[0].failures[name]


def test_swap_counts_the_patterns_of_gelu() -> None:
    student, seen = network(), set[str]()

    def note(module: nn.Module, inputs: tuple[Tensor]) -> None:
        units = (inputs[0] > 0).flatten(1).T
        seen.update("".join(map(str, unit.int().tolist())) for unit in units)

    for module in student.modules():
        if isinstance(module, nn.GELU):
            module.register_forward_pre_hook(note)
    proxy, images = made("swap"), torch.cat([batch().images, -0.5 * batch().images])
    with torch.no_grad(), proxy.observe(student) as observed:
        student.train()(images)
    inputs = ProxyInput("a", 0, Cost(1, 1, 1), batch(), student, observed=observed)
    assert 100 < len(seen) < 2**12
    assert proxy.measure(inputs) == {"swap": len(seen)}
