"""Scores of stored networks against those of other people's code, in float64."""

from functools import partial
from itertools import permutations
from typing import Any

import pytest
import torch

from diswot.data import MiniBatch
from diswot.models.resnet import CifarResNet
from diswot.proxies import Proxy
from diswot.proxies.base import ProxyContext
from diswot.proxies.diswot import Relation, Semantic
from diswot.proxies.features import NWOT
from diswot.proxies.functional import epe_nas, linear_regions, row_correlation, zen_score
from diswot.proxies.gradients import TENAS, EpeNAS, Jacov, ZiCo
from diswot.proxies.saliency import Fisher, GradNorm, Grasp, L2Norm, Plain, Snip, Synflow

NETS = ("res_111", "res_333", "plain_a", "plain_c")
MODES = ("train", "eval")
close = partial(pytest.approx, rel=1e-6)

RELEASED: dict[str, Proxy] = {
    "zcnas.snip": Snip(name="snip"),
    "zcnas.plain": Plain(name="plain"),
    "zcnas.l2_norm": L2Norm(name="l2_norm"),
    "zcnas.grad_norm": GradNorm(name="grad_norm"),
    "zcnas.fisher": Fisher(name="fisher"),
    "zcnas.grasp": Grasp(name="grasp"),
    "zcnas.jacob_cov": Jacov(name="jacov"),
    "zcnas.synflow": Synflow(name="synflow"),
    "zcnas.synflow_bn": Synflow(name="synflow", batch_norm=True),
    "naslib.epe_nas": EpeNAS(name="epe_nas"),
    "naslib.nwot": NWOT(name="nwot"),
    "zennas.grad_norm": GradNorm(name="grad_norm", form="global"),
    "zennas.te_ntk": TENAS(name="te_nas", combine="ntk"),
}
"""The measure of each entry of the golden file; its mini-batch may be in any order."""

TRAIN_ONLY = {"zcnas.fisher", "zennas.grad_norm", "zennas.te_ntk"}
"""Released Fisher switches to train mode itself; the others are not recorded in eval mode."""

RECORDED = [(e, m) for e in RELEASED for m in MODES if m == "train" or e not in TRAIN_ONLY]


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize(("entry", "mode"), RECORDED)
def test_released_values(golden: Any, entry: str, net: str, mode: str) -> None:
    score = golden.measured(net, RELEASED[entry], mode)
    assert score == close(golden.score(net, mode, entry))


@pytest.mark.parametrize("entry", [e for e in RELEASED if e != "zennas.te_ntk"])
def test_the_order_of_the_images_does_not_matter(golden: Any, entry: str) -> None:
    images, labels = golden.batch.images, golden.batch.labels
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    batch = MiniBatch(images[order], labels[order])
    shuffled = golden.measured("plain_a", RELEASED[entry], batch=batch)
    assert shuffled == close(golden.score("plain_a", "train", entry))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("net", ["res_111", "res_333"])
def test_the_stored_resnets_are_ours(golden: Any, net: str, mode: str) -> None:
    network = CifarResNet([int(d) for d in net.removeprefix("res_")], [16, 16, 32, 64])
    network.load_state_dict(golden.state(net))
    with torch.no_grad():
        ours = network.double().train(mode == "train").outputs(golden.batch.images)
        stored = golden.network(net, mode).outputs(golden.batch.images)
    torch.testing.assert_close(ours.stages, stored.stages, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(ours.logits, stored.logits, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("part", ["relation", "semantic"])
@pytest.mark.parametrize(("teacher", "student"), list(permutations(NETS, 2)))
def test_similarities(golden: Any, teacher: str, student: str, part: str, mode: str) -> None:
    context = ProxyContext("s", 64, teacher, 64, 10)
    proxy = {"relation": Relation, "semantic": Semantic}[part](name=part).bind(context)
    shown = golden.inputs(teacher, proxy, mode)
    summary = proxy.summarize(shown.outputs, shown.batch, shown.network)
    widths = {golden.network(net).classifier.in_features for net in (teacher, student)}
    if part == "semantic" and len(widths) > 1:
        with pytest.raises(ValueError, match="K and C"):
            golden.measured(student, proxy, mode, teacher=summary)
        return
    recorded = golden.recorded["diswot_pairs"][f"{teacher}->{student}"][mode][part]["f64"]
    assert golden.measured(student, proxy, mode, teacher=summary) == close(recorded)


@pytest.mark.parametrize("entry", ["4x4", "8x4_x_then_x2", "2x8", "2x16"])
@pytest.mark.parametrize("net", NETS)
def test_zico(golden: Any, net: str, entry: str) -> None:
    batch, proxy = golden.batch, ZiCo(name="zico", batches=int(entry[0]))
    if entry in ("8x4_x_then_x2", "2x16"):
        images = torch.cat([batch.images, golden.other.images])
        batch = MiniBatch(images, torch.cat([batch.labels, golden.other.labels]))
    recorded = golden.score(net, "train", f"zico.{entry}")
    loose = {"2x8": 2e-3, "2x16": 3e-2}.get(entry, 1e-6)
    assert golden.measured(net, proxy, batch=batch) == pytest.approx(recorded, rel=loose)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("net", NETS)
def test_zen_and_linear_regions(golden: Any, net: str, mode: str) -> None:
    images, other = golden.batch.images, golden.other.images
    zen = zen_score(golden.network(net, mode), images, other).item()
    assert zen == close(golden.score(net, mode, "zennas.zen_storedweights"))
    network = golden.network(net, mode)
    assert linear_regions(network, images) == golden.score(net, mode, "zennas.te_rn")
    assert linear_regions(network, images[:8].repeat(2, 1, 1, 1)) == 8


def test_intermediate_values(golden: Any) -> None:
    """Each layer of plain, the branch of EPE-NAS for many classes, the spectrum of jacov."""
    recorded = golden.recorded["extras_and_traps"]
    state, inputs = golden.state("res_111"), golden.inputs("res_111", RELEASED["zcnas.plain"])
    layers = {f"{path.replace('/', '.')}.weight": g for path, g in inputs.gradients.weights.items()}
    sums = {name: (state[name] * gradient).sum().item() for name, gradient in layers.items()}
    per_layer = recorded["per_layer_sum_w_dot_grad_res_111_train_f64"]
    assert sums == {name: pytest.approx(value, rel=1e-4) for name, value in per_layer.items()}
    rows = golden.inputs("plain_a", RELEASED["zcnas.jacob_cov"]).gradients.images
    many = recorded["epe_nas_branch_n_classes_101_plain_a_train_f32"]
    assert epe_nas(rows, golden.batch.labels, 101).item() == pytest.approx(many, rel=1e-5)
    spectrum = torch.linalg.eigvalsh(row_correlation(rows)).tolist()
    known = recorded["jacov_corr_eigvals_plain_a_train_f32"]
    assert spectrum == pytest.approx(sorted(known), rel=1e-5)
