"""Single proxies beside the contract: what counts, and formulas written out."""

from collections.abc import Callable
from math import inf, log, sqrt
from typing import Any

import pytest
import torch
from proxy_helpers import GoldenNetwork, made
from torch import Tensor, nn
from torch.nn import functional as F

from diswot.data import MiniBatch
from diswot.keys import generator
from diswot.models.init import Gaussian, Kaiming
from diswot.models.outputs import Cost, NetworkOutputs
from diswot.models.resnet import CifarResNet
from diswot.proxies import Proxy
from diswot.proxies.base import Components, ProxyInput
from diswot.proxies.functional import fisher, zen_score
from diswot.proxies.passes import weights

IMAGES = torch.randn(20, 3, 16, 16, generator=generator("test images"))


def shown(**inputs: Any) -> ProxyInput:
    batch = MiniBatch(torch.zeros(2, 3, 4, 4), torch.zeros(2).long())
    return ProxyInput(**{"arch": "a", "seed": 3, "cost": Cost(7, 11, 3), "batch": batch, **inputs})


def measured(network: nn.Module, proxy: Proxy, images: Tensor = IMAGES[:6]) -> Components:
    batch = MiniBatch(images, torch.arange(len(images)) % 10)
    return proxy.measure(shown(batch=batch, network=network.train()))


def resnet(*depths: int, seed: int = 0, shortcut: str = "B") -> CifarResNet:
    network = CifarResNet(depths or (1, 1, 1), [8, 8, 16, 16], shortcut=shortcut)
    Kaiming()(network, seed=seed, role="student")
    return network


# ---- what the loss does not depend on


class WithSpare(GoldenNetwork):
    """Calls one more convolution, and leaves another alone; neither reaches the logits."""

    def __init__(self, *stored: Any) -> None:
        super().__init__(*stored)
        self.called = nn.Conv2d(3, 4, 3, bias=False).double()
        self.idle = nn.Conv2d(3, 4, 3, bias=False).double()

    def outputs(self, images: Tensor) -> NetworkOutputs:
        self.called(images)
        return super().outputs(images)


@pytest.mark.parametrize(
    "settings",
    ["snip", "plain", "grad_norm", "grad_norm form=global", "fisher", "grasp", "jacov", "zico"],
)
def test_a_layer_beside_the_way_changes_no_bit(golden: Any, settings: str) -> None:
    network, proxy = golden.network("plain_a", kind=WithSpare), made(*settings.split())
    assert golden.measured("plain_a", proxy, network=network) == golden.measured("plain_a", proxy)


@pytest.mark.parametrize("name", ["snip", "plain", "grad_norm", "fisher", "grasp"])
def test_a_dead_network_has_a_score(golden: Any, name: str) -> None:
    network = golden.network("plain_a")
    last = [path for path, module in network.named_children() if isinstance(module, nn.ReLU)][-1]
    network.add_module(last, nn.Threshold(inf, 0.0))  # zeros, whatever it is given
    score = golden.measured("plain_a", made(name), network=network)
    # To Fisher the classifier's bias is an output, too.
    assert 0 < score < inf if name == "fisher" else score == 0


# ---- formulas written out


def test_baselines_written_out() -> None:
    for name, value in (("params", 7.0), ("flops", 11.0), ("layers", 3.0)):
        assert made(name).measure(shown()) == {name: value}
    network = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 5))
    score = made("sqrt_params").measure(shown(network=network))
    assert score == {"sqrt_params": pytest.approx(sqrt(76) + sqrt(25), rel=1e-12)}
    embedding = torch.tensor([[3.0, 4.0], [-5.0, 12.0]])
    outputs = NetworkOutputs((), (), embedding, torch.tensor([[1.0, 3.0], [5.0, -5.0]]))
    assert made("feature_norm").measure(shown(outputs=outputs)) == {"feature_norm": 9.0}
    assert made("logit_spread").measure(shown(outputs=outputs)) == {"logit_spread": 3.0}


def test_fisher_counts_a_channel_for_its_weights_or_once(golden: Any) -> None:
    inputs = golden.inputs("plain_c", made("fisher"))
    calls = zip(inputs.layers, inputs.gradients.outputs, strict=True)
    channels = [fisher(call.output, gradient).sum().item() for call, gradient in calls]
    once = made("fisher", "count=channels").measure(inputs)
    assert once == {"fisher": pytest.approx(sum(channels), rel=1e-12)}
    sizes = [3 * 25, 9, 24, 48 * 9, 32]
    weighted = sum(n * value for n, value in zip(sizes, channels, strict=True))
    assert made("fisher").measure(inputs) == {"fisher": pytest.approx(weighted, rel=1e-12)}


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_grasp_is_how_the_gradient_grows_with_the_weights(golden: Any, temperature: float) -> None:
    def energy(scale: float) -> float:
        network = golden.network("plain_c")
        own = list(weights(network).values())
        with torch.no_grad():
            for weight in own:
                weight.mul_(scale)
        loss = F.cross_entropy(network(golden.batch.images) / temperature, golden.batch.labels)
        return sum(g.square().sum().item() for g in torch.autograd.grad(loss, own)) / 2

    slope = (energy(1 + 1e-5) - energy(1 - 1e-5)) / 2e-5
    minus = golden.measured("plain_c", made("grasp", f"temperature={temperature}"))
    assert minus == pytest.approx(-slope, rel=1e-6)
    plus = golden.measured("plain_c", made("grasp", f"temperature={temperature}", "sign=plus"))
    assert plus == -minus


def test_synflow_written_out() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    first, bias = torch.tensor([[1.0, -2.0], [-3.0, 4.0]]), torch.tensor([-0.5, 0.5])
    last = torch.tensor([[-1.0, 2.0]])
    network.load_state_dict(
        {"1.weight": first, "1.bias": bias, "3.weight": last, "3.bias": bias[:1]}
    )
    # dR/dw is |last| for the first layer, the hidden units |first| · 1 + |bias| for the last.
    terms = [(1, 1), (2, 1), (3, 2), (4, 2), (1, 3.5), (2, 7.5)]
    score = measured(network, made("synflow"), IMAGES[:1, :1, :1, :2])
    assert score == {"synflow": pytest.approx(sum(w * g for w, g in terms), rel=1e-12)}
    score = measured(network, made("log_synflow"), IMAGES[:1, :1, :1, :2])
    expected = sum(w * log(1 + g) for w, g in terms)
    assert score == {"log_synflow": pytest.approx(expected, rel=1e-12)}


def test_zen_draws_weights_and_inputs_anew_for_every_repeat() -> None:
    def noise(purpose: str, repeat: int) -> Tensor:
        return torch.randn(6, 3, 16, 16, generator=generator("zen proxy", 3, purpose, repeat))

    expected = []
    for repeat, role in enumerate(["student", "student 1"]):
        network = resnet()
        Gaussian()(network, seed=3, role=role)
        score = zen_score(network, noise("images", repeat), noise("direction", repeat))
        expected.append(score.item())
    assert expected[0] != pytest.approx(expected[1], rel=1e-3)
    for repeats in (1, 2):
        mean = sum(expected[:repeats]) / repeats
        score = measured(resnet(seed=1), made("zen", f"repeats={repeats}"))
        assert score == {"zen": pytest.approx(mean, rel=1e-5)}
    own = zen_score(resnet(seed=1), noise("images", 0), noise("direction", 0)).item()
    score = measured(resnet(seed=1), made("zen", "init=run"))
    assert score == {"zen": pytest.approx(own, rel=1e-5)}


def test_zico_uses_equal_parts() -> None:
    two, three = made("zico"), made("zico", "batches=3")
    for proxy in (two, three):
        assert measured(resnet(), proxy, IMAGES[:7]) == measured(resnet(), proxy, IMAGES[:6])
    assert measured(resnet(), two) != measured(resnet(), three)


def test_te_nas_adds_ranks_of_its_two_measures() -> None:
    both, ntk, regions = (made("te_nas", f"combine={c}") for c in ("rank", "ntk", "regions"))
    components = measured(resnet(), both, IMAGES)
    parts = {**measured(resnet(), ntk, IMAGES[:16]), **measured(resnet(), regions)}
    assert components == parts  # the kernel takes the first 16 images
    assert measured(resnet(), ntk, IMAGES[:15]) != measured(resnet(), ntk, IMAGES[:16])
    assert [proxy.relative for proxy in (both, ntk, regions)] == [True, False, False]
    seen = [{"ntk": -9.0, "regions": 5.0}, {"ntk": -1.0, "regions": 6.0}]
    assert both.fitness([*seen, {"ntk": -4.0, "regions": 6.0}]) == [2.0, 5.5, 4.5]
    assert ntk.fitness([{"ntk": -9.0}]) == [-9.0]


@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_te_nas_regions_differ_only_one_channel_wide(shortcut: str) -> None:
    thin, full = (made("te_nas", "combine=regions", f"thin={t}") for t in ("true", "false"))
    counts = {measured(resnet(d, d, d, shortcut=shortcut), thin)["regions"] for d in (1, 2, 3)}
    assert len(counts) > 1
    assert all(10 < count < 1000 for count in counts)
    assert measured(resnet(shortcut=shortcut), full)["regions"] > max(counts)


def test_diswot_is_the_sum_of_its_parts(company_on: Callable[[str], Any]) -> None:
    parts = company_on("s0").measured[0].parts
    assert parts["diswot"] == {**parts["semantic"], **parts["relation"]}
    [score] = made("diswot").fitness([parts["diswot"]])
    assert score == pytest.approx(sum(parts["diswot"].values()), rel=1e-12)
    assert parts["sp"]["sp"] == pytest.approx(parts["relation"]["relation"], 1e-12)
