"""What single distillers do beside the contract: stages, connectors, schedules, refusals."""

from __future__ import annotations

from dataclasses import replace
from math import log

import pytest
import torch
from distiller_helpers import CLASSES, built, pair
from torch import nn

from diswot.distillers import functional
from diswot.distillers.connectors import MeanNetwork, Projection
from diswot.errors import UserError
from diswot.proxies.functional import (
    ClassGradient,
    cam_matrix,
    cam_similarity,
    channel_similarity,
)


@pytest.mark.parametrize(
    ("name", "setting", "wrong"),
    [
        ("kd", "temperature", 0),
        ("kd", "standardize", "yes"),
        ("dkd", "temperature", -1),
        ("dkd", "alpha", -1),
        ("dkd", "beta", float("inf")),
        ("dkd", "warmup", 1.5),
        ("dist", "beta", -1),
        ("dist", "gamma", "x"),
        ("dist", "temperature", 0),
        ("fitnet", "stage", 0),
        ("fitnet", "connector", "never"),
        ("at", "power", 0),
        ("cc", "width", 0),
        ("rkd", "distance_weight", -1),
        ("rkd", "angle_weight", -1),
        ("pkt", "eps", 0),
        ("vid", "variance", 0),
        ("ickd", "connector", "never"),
        ("diswot", "form", "both"),
        ("diswot", "floor", -1),
        ("diswot", "semantic_weight", -1),
        ("diswot", "relation_weight", -1),
    ],
)
def test_wrong_settings_are_named(name: str, setting: str, wrong: object) -> None:
    with pytest.raises(UserError, match=rf"^distiller\.{name}\.{setting}={wrong}"):
        built(name, **{setting: wrong})


@pytest.mark.parametrize("name", ["kd", "dkd", "dist", "diswot"])
def test_other_classes_are_refused(name: str) -> None:
    networks = pair("depth")
    other = pair("depth", classes=CLASSES + 1)
    with pytest.raises(UserError, match=rf"^distiller\.{name} needs .*\(6, 5\).*\(6, 6\)$"):
        built(name).connect(networks.told(), other.said())


def test_stages_are_aligned_from_the_last() -> None:
    networks = pair("stages")
    told, said, step = networks.told(), networks.said(), networks.step()
    aligned = list(zip(told.stages[1:], said.stages, strict=True))
    sums = {
        "at": torch.stack([functional.at(t, s) for t, s in aligned]).sum(),
        "nst": torch.stack([functional.nst(t, s) for t, s in aligned]).sum(),
        "sp": functional.sp(*aligned[-1]),
    }
    for name, expected in sums.items():
        found = networks.connected(name)(told, said, step)
        assert found.item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize(("stage", "width"), [(None, (6, 8)), (1, (6, 4)), (3, (10, 8))])
def test_the_hint_is_taken_at_a_stage(stage: int | None, width: tuple[int, int]) -> None:
    regressor = pair("width").connected("fitnet", stage=stage).regressor
    assert isinstance(regressor, Projection)
    assert (regressor.conv.in_channels, regressor.conv.out_channels) == width


def test_a_stage_there_is_not() -> None:
    networks = pair("stages")
    with pytest.raises(
        UserError, match=r"^distiller\.fitnet\.stage=4: .*share 3 stages; give 1 to"
    ):
        networks.connected("fitnet", stage=4)


@pytest.mark.parametrize(("name", "part"), [("fitnet", "regressor"), ("ickd", "embed")])
def test_a_projection_is_there_only_where_needed(name: str, part: str) -> None:
    found = {
        (kind, connector): getattr(pair(kind).connected(name, connector=connector), part)
        for kind in ("depth", "width")
        for connector in ("always", "auto")
    }
    assert isinstance(found.pop(("depth", "auto")), nn.Identity)
    assert all(isinstance(module, Projection) for module in found.values())
    relu = {type(module.activation) is nn.ReLU for module in found.values()}
    assert relu == {name == "fitnet"}


def test_variances_start_where_they_are_told_and_are_learned() -> None:
    distiller = pair("width").connected("vid", variance=2.0)
    for mean, width in zip(distiller.means, (4, 8, 8), strict=True):
        assert isinstance(mean, MeanNetwork)
        assert mean.log_scale.shape == (width,)
        variance = nn.functional.softplus(mean.log_scale) + 1e-5
        assert variance.tolist() == pytest.approx([2.0] * width, rel=1e-5)
        assert all(p.requires_grad for p in mean.parameters())
    networks = pair("width")
    far = networks.loss(networks.connected("vid", variance=100.0)).item()
    assert far == pytest.approx(3 * log(100) / 2, rel=0.05)


def test_the_warm_up_of_dkd_is_that_of_mdistiller() -> None:
    networks = pair("depth")
    distiller = networks.connected("dkd")
    full = networks.loss(distiller, epoch=500).item()
    for epoch, part in ((0, 1 / 20), (9, 0.5), (19, 1), (20, 1)):
        assert networks.loss(distiller, epoch=epoch).item() == pytest.approx(part * full)
    at_once = networks.connected("dkd", warmup=0)
    assert networks.loss(at_once).item() == pytest.approx(full)


def test_standardised_kd_knows_no_scale_of_the_student() -> None:
    networks = pair("depth")
    told, said, step = networks.told(), networks.said(), networks.step()
    louder = replace(said, logits=5 * said.logits)
    plain, standard = networks.connected("kd"), networks.connected("kd", standardize=True)
    assert standard(told, louder, step).item() == pytest.approx(
        standard(told, said, step).item(), rel=1e-3
    )
    assert plain(told, louder, step).item() > 1.1 * plain(told, said, step).item()


def test_embeddings_of_cc_have_their_width() -> None:
    distiller = pair("width").connected("cc", width=3)
    assert [tuple(p.shape) for p in distiller.parameters()] == [(3, 10), (3,), (3, 8), (3,)]


@pytest.mark.parametrize(("kind", "form"), [("depth", "channel"), ("width", "cam")])
def test_diswot_takes_the_form_the_widths_allow(kind: str, form: str) -> None:
    networks = pair(kind)
    distiller = built("diswot")
    assert distiller.needs_labels
    distiller.connect(networks.told(), networks.said())
    assert distiller.form == form
    assert distiller.needs_labels == (form == "channel")
    assert not built("diswot", form="cam").needs_labels


def test_diswot_refuses_channels_of_other_widths() -> None:
    with pytest.raises(UserError, match=r"^distiller\.diswot needs .*form=channel.*8\).*10\)$"):
        pair("width").connected("diswot", form="channel")


def test_diswot_is_its_proxies_turned_round() -> None:
    networks = pair("depth")
    told, said, step = networks.told(), networks.said(), networks.step()
    relation = functional.sp(told.stages[-1], said.stages[-1])
    gradients = []
    for network, images in ((networks.teacher, networks.images), (networks.student, networks.seen)):
        loss = nn.functional.cross_entropy(network(images), networks.labels)
        gradients.append(torch.autograd.grad(loss, network.fc.weight)[0])
    channel = channel_similarity(*(ClassGradient(gradient) for gradient in gradients))
    cam = cam_similarity(
        cam_matrix(told.stages[-1], step.teacher_weight),
        cam_matrix(said.stages[-1], step.student_weight),
    )
    for form, semantic in (("channel", channel), ("cam", cam)):
        found = networks.connected("diswot", form=form, semantic_weight=2, relation_weight=3)
        expected = 3 * relation - 2 * semantic
        assert found(told, said, step).item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("form", ["channel", "cam"])
def test_diswot_teaches_the_classifier_too(form: str) -> None:
    networks = pair("depth")
    networks.loss(networks.connected("diswot", form=form, relation_weight=0)).backward()
    assert networks.student.fc.weight.grad.abs().max() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_certain_students_and_dead_channels_keep_gradients_bounded(dtype: torch.dtype) -> None:
    """Where every image is right the class gradient is at its floor, or exactly zero."""
    networks = pair("depth")
    distiller = networks.connected("diswot", form="channel", relation_weight=0)
    told, said, step = networks.told(), networks.said(), networks.step()
    right = nn.functional.one_hot(networks.labels, CLASSES).to(dtype)
    told = replace(told, logits=told.logits.to(dtype), embedding=told.embedding.to(dtype))
    for certainty in (5.0, 15.0, 30.0, 90.0, 1000.0):
        logits = (certainty * right).requires_grad_()
        embedding = said.embedding.detach().to(dtype)
        embedding[:, 0] = 0
        embedding.requires_grad_()
        loss = distiller(told, replace(said, logits=logits, embedding=embedding), step)
        found = torch.autograd.grad(loss, (logits, embedding))
        assert loss.isfinite()
        assert all(gradient.isfinite().all() for gradient in found)
        assert found[0].abs().max() < 10
        assert found[1][:, 1:].abs().max() < 10
