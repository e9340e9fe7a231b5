"""The proxies that look at gradients: other people's numbers, options, and what they refuse."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from golden_network import GoldenNetwork, golden_network, golden_subject
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from diswot.data import MiniBatch
from diswot.errors import UserError
from diswot.proxies import Proxy
from diswot.proxies.epe_nas import EpeNAS
from diswot.proxies.fisher import Fisher
from diswot.proxies.functional.jacobian import class_correlation, row_correlation, spectrum_score
from diswot.proxies.functional.saliency import channel_saliency, sum_of_norms, sum_of_products
from diswot.proxies.grad_norm import GradNorm
from diswot.proxies.grasp import Grasp
from diswot.proxies.jacov import Jacov
from diswot.proxies.l2_norm import L2Norm
from diswot.proxies.passes import weights
from diswot.proxies.plain import Plain
from diswot.proxies.snip import Snip

NETS = ("res_111", "res_333", "plain_a", "plain_c")
CLOSE = 1e-6

MADE: dict[str, Proxy] = {
    "zcnas.snip": Snip(name="snip"),
    "zcnas.plain": Plain(name="plain"),
    "zcnas.l2_norm": L2Norm(name="l2_norm"),
    "zcnas.grad_norm": GradNorm(name="grad_norm"),
    "zcnas.fisher": Fisher(name="fisher"),
    "zcnas.grasp": Grasp(name="grasp"),
    "zcnas.jacob_cov": Jacov(name="jacov"),
    "naslib.epe_nas": EpeNAS(name="epe_nas"),
    "zennas.grad_norm": GradNorm(name="grad_norm", form="global"),
}
RECORDED = [(measure, "train") for measure in MADE] + [
    (measure, "eval") for measure in MADE if measure not in {"zcnas.fisher", "zennas.grad_norm"}
]
"""Released Fisher switches to train mode itself; Zen-NAS's norm is not recorded in eval mode."""

OF_WEIGHTS = ("zcnas.snip", "zcnas.plain", "zcnas.grad_norm", "zcnas.fisher", "zcnas.grasp")


def scored(golden: Any, net: str, mode: str, proxy: Proxy, **shown: Any) -> float:
    inputs = golden_subject(golden, net, mode, proxy, **shown)
    with torch.set_grad_enabled(proxy.needs_gradients):
        [(part, value)] = proxy.measure(inputs).items()
    assert part == proxy.name
    return value


class TestAgainstReleasedCode:
    @pytest.mark.parametrize("net", NETS)
    @pytest.mark.parametrize(("measure", "mode"), RECORDED)
    def test_values(self, golden: Any, measure: str, mode: str, net: str) -> None:
        told = golden.told["scores"][net][mode][measure]["f64"]
        assert scored(golden, net, mode, MADE[measure]) == pytest.approx(told, rel=CLOSE)

    def test_each_layer_of_plain(self, golden: Any) -> None:
        told = golden.told["extras_and_traps"]["per_layer_sum_w_dot_grad_res_111_train_f64"]
        inputs = golden_subject(golden, "res_111", "train", MADE["zcnas.plain"])
        assert inputs.gradients is not None
        found = {
            f"{path}.weight": (golden.state("res_111")[f"{path}.weight"] * gradient).sum().item()
            for path, gradient in inputs.gradients.weights.items()
        }
        assert found == {name: pytest.approx(value, rel=1e-4) for name, value in told.items()}

    def test_epe_nas_of_many_classes(self, golden: Any) -> None:
        told = golden.told["extras_and_traps"]["epe_nas_branch_n_classes_101_plain_a_train_f32"]
        inputs = golden_subject(golden, "plain_a", "train", MADE["naslib.epe_nas"])
        assert inputs.gradients is not None
        found = class_correlation(inputs.gradients.images, golden.labels, 101).item()
        assert found == pytest.approx(told, rel=1e-5)

    def test_the_spectrum_of_jacov(self, golden: Any) -> None:
        told = golden.told["extras_and_traps"]["jacov_corr_eigvals_plain_a_train_f32"]
        inputs = golden_subject(golden, "plain_a", "train", MADE["zcnas.jacob_cov"])
        assert inputs.gradients is not None
        found = torch.linalg.eigvalsh(row_correlation(inputs.gradients.images))
        assert found.tolist() == pytest.approx(sorted(told), rel=1e-5)


class TestOptions:
    def test_defaults_are_told(self) -> None:
        assert Fisher(name="fisher").settings() == {"count": "weights"}
        assert Grasp(name="grasp").settings() == {"sign": "minus", "temperature": 1.0}
        assert GradNorm(name="grad_norm").settings() == {"form": "layers"}

    def test_fisher_that_counts_channels_once(self, golden: Any) -> None:
        by_weights = Fisher(name="fisher", count="weights")
        by_channels = Fisher(name="fisher", count="channels")
        inputs = golden_subject(golden, "plain_c", "train", by_weights)
        assert inputs.gradients is not None
        inputs = [3 * 25, 9, 24, 48 * 9, 32]
        channels = [
            channel_saliency(call.output, gradient).sum().item()
            for call, gradient in zip(inputs.layers, inputs.gradients.outputs, strict=True)
        ]
        assert by_channels.measure(inputs)["fisher"] == pytest.approx(sum(channels), rel=1e-12)
        weighted = sum(n * value for n, value in zip(inputs, channels, strict=True))
        assert by_weights.measure(inputs)["fisher"] == pytest.approx(weighted, rel=1e-12)

    def test_grasp_as_the_pruner_keeps(self, golden: Any) -> None:
        minus, plus = (
            scored(golden, "plain_a", "train", Grasp(name="grasp", sign=sign))
            for sign in ("minus", "plus")
        )
        assert plus == -minus != 0

    @pytest.mark.parametrize("temperature", [1.0, 3.0])
    def test_grasp_is_how_the_gradient_grows_with_the_weights(
        self, golden: Any, temperature: float
    ) -> None:
        def energy(scale: float) -> float:
            network = golden_network(golden, "plain_c")
            own = list(weights(network).values())
            with torch.no_grad():
                for weight in own:
                    weight.mul_(scale)
            loss = F.cross_entropy(network(golden.images) / temperature, golden.labels)
            return sum(g.square().sum().item() for g in torch.autograd.grad(loss, own)) / 2

        slope = (energy(1 + 1e-5) - energy(1 - 1e-5)) / 2e-5
        proxy = Grasp(name="grasp", temperature=temperature)
        assert scored(golden, "plain_c", "train", proxy) == pytest.approx(-slope, rel=1e-6)

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (
                lambda: Fisher(name="f", count="kernels"),
                r"^proxy\.f\.count=kernels: allowed are weights, channels$",
            ),
            (
                lambda: Grasp(name="g", sign="-"),
                r"^proxy\.g\.sign=-: allowed are minus, plus$",
            ),
            (
                lambda: Grasp(name="g", temperature=0),
                r"^proxy\.g\.temperature=0 is not allowed; give a positive number$",
            ),
            (
                lambda: GradNorm(name="n", form="all"),
                r"^proxy\.n\.form=all: allowed are layers, global$",
            ),
        ],
    )
    def test_wrong_settings(self, make: Callable[[], Proxy], message: str) -> None:
        with pytest.raises(UserError, match=message):
            make()


class WithSpare(GoldenNetwork):
    """Calls one more convolution, and leaves another alone; neither reaches the logits."""

    def __init__(self, golden: Any, net: str) -> None:
        super().__init__(golden.told["architectures"][net]["execution"], golden.state(net))
        self.called = nn.Conv2d(3, 4, 3, bias=False)
        self.idle = nn.Conv2d(3, 4, 3, bias=False)
        self.double()

    def outputs(self, images: Tensor) -> Any:
        self.called(images)
        return super().outputs(images)


class Nothing(nn.Module):
    """Gives zeros, whatever it is given."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps * 0


class TestWhatIsNotReached:
    @pytest.mark.parametrize("measure", [*OF_WEIGHTS, "zcnas.jacob_cov", "zennas.grad_norm"])
    def test_a_layer_beside_the_way_changes_no_bit(self, golden: Any, measure: str) -> None:
        network = WithSpare(golden, "plain_a")
        found = scored(golden, "plain_a", "train", MADE[measure], network=network)
        assert found == scored(golden, "plain_a", "train", MADE[measure])

    def test_the_norm_counts_every_layer(self, golden: Any) -> None:
        network = WithSpare(golden, "plain_a")
        told = golden.told["scores"]["plain_a"]["train"]["zcnas.l2_norm"]["f64"]
        spare = network.called.weight.norm() + network.idle.weight.norm()
        found = scored(golden, "plain_a", "train", MADE["zcnas.l2_norm"], network=network)
        assert found == pytest.approx(told + spare.item(), rel=CLOSE)

    @pytest.mark.parametrize("measure", ["zcnas.jacob_cov", "naslib.epe_nas"])
    def test_images_that_do_not_matter_cannot_be_compared(self, golden: Any, measure: str) -> None:
        network = golden_network(golden, "plain_a")
        network.get_submodule("relus").register_module("2", Nothing())
        with pytest.raises(ValueError, match="gradient is the same everywhere"):
            scored(golden, "plain_a", "train", MADE[measure], network=network)

    @pytest.mark.parametrize("measure", OF_WEIGHTS)
    def test_a_dead_network_has_a_score(self, golden: Any, measure: str) -> None:
        network = golden_network(golden, "plain_a")
        network.get_submodule("relus").register_module("2", Nothing())
        found = scored(golden, "plain_a", "train", MADE[measure], network=network)
        if measure == "zcnas.fisher":  # the classifier's bias is an output, too
            assert 0 < found < math.inf
        else:
            assert found == 0

    def test_fisher_needs_layers(self, golden: Any) -> None:
        proxy = Fisher(name="fisher")
        inputs = golden_subject(golden, "plain_a", "train", proxy)
        object.__setattr__(inputs, "layers", ())
        with pytest.raises(ValueError, match="calls no convolution and no linear layer"):
            proxy.measure(inputs)

    def test_epe_nas_needs_two_of_a_class(self, golden: Any) -> None:
        batch = MiniBatch(golden.images[:6], torch.arange(6))
        with pytest.raises(ValueError, match="no class has two of the 6 images"):
            scored(golden, "plain_a", "train", EpeNAS(name="epe_nas"), batch=batch)


class TestAnyMiniBatch:
    @pytest.mark.parametrize("measure", [m for m in MADE if m != "zcnas.l2_norm"])
    def test_the_order_of_the_images_does_not_matter(self, golden: Any, measure: str) -> None:
        order = torch.randperm(len(golden.labels), generator=torch.Generator().manual_seed(0))
        batch = MiniBatch(golden.images[order], golden.labels[order])
        told = golden.told["scores"]["plain_a"]["train"][measure]["f64"]
        found = scored(golden, "plain_a", "train", MADE[measure], batch=batch)
        assert found == pytest.approx(told, rel=CLOSE)

    @pytest.mark.parametrize("measure", MADE)
    def test_nothing_is_left_on_the_network(self, golden: Any, measure: str) -> None:
        proxy = MADE[measure]
        inputs = golden_subject(golden, "plain_a", "train", proxy)
        assert inputs.network is not None
        before = {name: t.clone() for name, t in inputs.network.state_dict().items()}
        with torch.set_grad_enabled(proxy.needs_gradients):
            first, second = proxy.measure(inputs), proxy.measure(inputs)
        assert first == second
        assert all(p.grad is None for p in inputs.network.parameters())
        for name, tensor in inputs.network.state_dict().items():
            assert torch.equal(tensor, before[name])

    @pytest.mark.parametrize("measure", OF_WEIGHTS)
    def test_float32_is_near(self, golden: Any, measure: str) -> None:
        told = golden.told["scores"]["plain_a"]["train"][measure]["f64"]
        batch = MiniBatch(golden.images.float(), golden.labels)
        network = golden_network(golden, "plain_a").float()
        found = scored(golden, "plain_a", "train", MADE[measure], batch=batch, network=network)
        assert found == pytest.approx(told, rel=1e-4)


class TestFunctional:
    def test_sums(self) -> None:
        ones = [torch.tensor([1.0, -2.0]), torch.tensor([[3.0]])]
        others = [torch.tensor([4.0, 5.0]), torch.tensor([[-1.0]])]
        assert sum_of_products(ones, others) == 4 - 10 - 3
        assert sum_of_products(ones, others, absolute=True) == 4 + 10 + 3
        assert sum_of_norms([torch.tensor([3.0, 4.0]), torch.tensor([[-2.0]])]) == 7
        with pytest.raises(ValueError, match="shorter"):
            sum_of_products(ones, others[:1])

    def test_channel_saliency(self) -> None:
        output = torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]], [[[0.0, 1.0]], [[2.0, 2.0]]]])
        gradient = torch.tensor([[[[1.0, 1.0]], [[-1.0, 9.0]]], [[[5.0, -3.0]], [[1.0, 0.0]]]])
        assert channel_saliency(output, gradient).tolist() == [(9 + 9) / 4, (9 + 4) / 4]
        flat = channel_saliency(output.sum((2, 3)), torch.ones(2, 2))
        assert flat.tolist() == [(9 + 1) / 4, (9 + 16) / 4]

    def test_correlation_is_that_of_numpy(self) -> None:
        rows = torch.randn(7, 3, 4, 4, generator=torch.Generator().manual_seed(1))
        found = row_correlation(rows.contiguous(memory_format=torch.channels_last))
        np.testing.assert_allclose(found, np.corrcoef(rows.flatten(1).double()), atol=1e-12)
        assert found.diagonal().tolist() == [1.0] * 7

    def test_the_spectrum_of_unlike_rows_is_best(self) -> None:
        best = spectrum_score(torch.eye(5, dtype=torch.float64)).item()
        assert best == pytest.approx(-5, rel=1e-9)
        alike = spectrum_score(torch.ones(5, 5, dtype=torch.float64)).item()
        assert alike == pytest.approx(-(math.log(5) + 1 / 5 + 4 * (math.log(1e-5) + 1e5)), rel=1e-6)

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [(0.0, "the same everywhere"), (math.nan, "not finite"), (math.inf, "not finite")],
    )
    def test_rows_without_correlation(self, spoil: float, message: str) -> None:
        rows = torch.randn(4, 6, generator=torch.Generator().manual_seed(2))
        rows[1] = spoil
        with pytest.raises(ValueError, match=message):
            row_correlation(rows)

    def test_classes_by_hand(self) -> None:
        rows = torch.randn(7, 9, generator=torch.Generator().manual_seed(3))
        labels = torch.tensor([4, 0, 4, 0, 7, 4, 7])
        kept = [np.log(np.abs(np.corrcoef(rows[labels == c].double())) + 1e-5) for c in (0, 4, 7)]
        few = sum(abs(logs.sum()) for logs in kept)
        means = [logs.sum() / len(logs) for logs in kept]
        many = sum(abs(a - b) for a in means for b in means) / 3
        assert class_correlation(rows, labels, 100).item() == pytest.approx(few, rel=1e-9)
        assert class_correlation(rows, labels, 101).item() == pytest.approx(many, rel=1e-9)

    def test_a_class_of_one(self) -> None:
        rows = torch.randn(4, 9, generator=torch.Generator().manual_seed(4))
        alone, pair = torch.tensor([0, 1, 0, 0]), torch.tensor([0, 0, 0])
        without = rows[[0, 2, 3]]
        more = class_correlation(rows, alone, 10) - class_correlation(without, pair, 10)
        assert more.item() == pytest.approx(math.log(1 + 1e-5), rel=1e-6)
        assert class_correlation(rows, alone, 101).item() == 0
