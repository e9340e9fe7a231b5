"""What every loss keeps, and what each leaves unchanged."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from diswot.distillers import functional
from diswot.distillers.functional import (
    at,
    cc,
    dist,
    dkd,
    fitnet,
    ickd,
    kd,
    nst,
    pkt,
    rkd,
    sp,
    standardize,
    vid,
)
from diswot.proxies.functional import relation_matrix, relation_similarity

Loss = Callable[..., Tensor]


def labelled_dkd(teacher: Tensor, student: Tensor) -> Tensor:
    return dkd(teacher, student, labels=teacher.argmax(-1))


def vid_of_one(teacher: Tensor, student: Tensor) -> Tensor:
    """With variances of one, so that equal maps give 0."""
    scale = torch.full(teacher.shape[1:2], math.log(math.expm1(1 - 1e-5)), dtype=teacher.dtype)
    return vid(teacher, student, log_scale=scale)


LOSSES: dict[str, Loss] = {
    name: {"dkd": labelled_dkd, "vid": vid_of_one}.get(name, getattr(functional, name))
    for name in functional.__all__
    if name != "standardize"
}
OF_MAPS = ("at", "nst", "ickd", "vid")
OF_ONE_SHAPE = ("kd", "dkd", "dist", "fitnet", "cc")
LEAST = {"pkt": -1e-7}
"""PKT's floor may take it below zero, by no more than its own order."""
OPTIMUM = {"vid": (1e-6, 1e-6), "pkt": (1e-12, 1e-5)}
"""How far from 0 the floor of PKT, and VID's scale in float32, leave value and gradient."""
SEEDS = st.integers(0, 2**32)
SIZES = st.integers(2, 6)
each_loss = pytest.mark.parametrize("name", LOSSES)


def normal(seed: int, *shape: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.empty(shape, dtype=torch.float64).normal_(generator=draw)


def pair(name: str, seed: int, batch: int = 4, width: int = 5, side: int = 3) -> list[Tensor]:
    """Random teacher and student of one shape that the loss takes."""
    shape = (batch, width, side, side) if name in OF_MAPS else (batch, width)
    return [normal(seed, *shape), normal(seed + 1, *shape)]


def gradient(loss: Loss, teacher: Tensor, student: Tensor) -> Tensor:
    student = student.clone().requires_grad_()
    [found] = torch.autograd.grad(loss(teacher, student), student)
    return found


@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"dist"}))
@given(seed=SEEDS, batch=SIZES, width=SIZES, side=SIZES)
@settings(max_examples=15, deadline=None)
def test_equal_inputs_are_the_optimum(
    name: str, seed: int, batch: int, width: int, side: int
) -> None:
    teacher, student = pair(name, seed, batch, width, side)
    loss = LOSSES[name]
    value, slope = OPTIMUM.get(name, (1e-12, 1e-6))
    assert loss(teacher, teacher.clone()).item() == pytest.approx(0, abs=value)
    assert gradient(loss, teacher, teacher).abs().max().item() < slope
    assert loss(teacher, student).item() > LEAST.get(name, -1e-12)


def test_equal_logits_are_the_optimum_of_correlations() -> None:
    """Up to the floor of lengths, which a column of nearly equal images feels; so one draw."""
    teacher, student = pair("dist", 0, batch=6)
    assert dist(teacher, teacher.clone()).item() == pytest.approx(0, abs=1e-6)
    assert gradient(dist, teacher, teacher).abs().max().item() < 1e-5
    assert dist(teacher, student).item() > 0.1


@each_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_descends_in_the_dtype_it_is_given(name: str, dtype: torch.dtype) -> None:
    teacher, student = (tensor.to(dtype) for tensor in pair(name, 0, side=4))
    loss, kept = LOSSES[name], (teacher.clone(), student.clone())
    before = loss(teacher, student)
    downhill = gradient(loss, teacher, student)
    assert before.dtype == downhill.dtype == dtype
    assert before.shape == ()
    step = 1e-3 * before.item() / downhill.square().sum().item()
    after = loss(teacher, student - step * downhill).item()
    assert after / before.item() == pytest.approx(0.999, abs=2e-4)
    assert torch.equal(teacher, kept[0])
    assert torch.equal(student, kept[1])


@each_loss
@pytest.mark.parametrize("dead", ["teacher", "student", "both"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dead_features_keep_value_and_gradient_finite(
    name: str, dead: str, dtype: torch.dtype
) -> None:
    teacher, student = (tensor.to(dtype) for tensor in pair(name, 0))
    teacher = teacher * 0 if dead != "student" else teacher
    student = student * 0 if dead != "teacher" else student
    assert LOSSES[name](teacher, student).isfinite()
    assert gradient(LOSSES[name], teacher, student).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_twins_in_the_batch_do_not_blow_up_the_angles(dtype: torch.dtype) -> None:
    teacher, student = (tensor.to(dtype) for tensor in pair("rkd", 0))
    student = torch.cat([student[:1], student[:1], student[2:]])
    assert gradient(rkd, teacher, student).abs().max().item() < 1e3


@each_loss
def test_saturated_inputs_stay_finite(name: str) -> None:
    teacher, student = (tensor.float() * 1e4 for tensor in pair(name, 0))
    assert LOSSES[name](teacher, student).isfinite()
    assert gradient(LOSSES[name], teacher, student).isfinite().all()


@each_loss
def test_batches_that_differ_are_refused(name: str) -> None:
    [teacher, student] = pair(name, 0)
    with pytest.raises(ValueError, match=name) as caught:
        LOSSES[name](teacher, student[:3])
    assert str(tuple(teacher.shape)) in str(caught.value)
    assert str(tuple(student[:3].shape)) in str(caught.value)


@pytest.mark.parametrize("name", OF_ONE_SHAPE)
def test_widths_that_differ_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} .*\(4, 5\).*\(4, 6\)"):
        LOSSES[name](normal(0, 4, 5), normal(1, 4, 6))


@pytest.mark.parametrize("name", OF_ONE_SHAPE)
def test_a_width_of_one_is_not_broadcast(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} .*\(4, 5\).*\(4, 1\)"):
        LOSSES[name](normal(0, 4, 5), normal(1, 4, 1))


@pytest.mark.parametrize("name", OF_MAPS)
@pytest.mark.parametrize("shapes", [((4, 5), (4, 5)), ((4, 5, 3, 3), (4, 45)), ((4, 5, 9),) * 2])
def test_only_maps_are_taken(name: str, shapes: tuple[tuple[int, ...], ...]) -> None:
    teacher, student = (normal(i, *shape) for i, shape in enumerate(shapes))
    with pytest.raises(ValueError, match=r"maps \(B, C, H, W\)") as caught:
        LOSSES[name](teacher, student)
    assert f"teacher {shapes[0]}, student {shapes[1]}" in str(caught.value)


@pytest.mark.parametrize("name", ["kd", "dkd", "dist", "sp", "cc", "rkd", "pkt"])
def test_features_without_a_batch_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} needs features"):
        LOSSES[name](normal(0, 4), normal(1, 4))


@pytest.mark.parametrize("name", ["cc", "rkd"])
def test_one_image_relates_to_nothing(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} needs at least 2 images.*\(1, 5\)"):
        LOSSES[name](normal(0, 1, 5), normal(1, 1, 5))


@pytest.mark.parametrize("wrong", [0, -1.0])
def test_settings_that_mean_nothing_are_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="temperature="):
        kd(*pair("kd", 0), temperature=wrong)
    with pytest.raises(ValueError, match=r"temperature=.*dkd"):
        dkd(*pair("dkd", 0), labels=torch.zeros(4, dtype=torch.long), temperature=wrong)
    with pytest.raises(ValueError, match=r"temperature=.*dist"):
        dist(*pair("dist", 0), temperature=wrong)
    with pytest.raises(ValueError, match="power="):
        at(*pair("at", 0), power=wrong)


@given(seed=SEEDS, batch=SIZES, width=SIZES, scale=st.floats(0.1, 10))
@settings(max_examples=25, deadline=None)
def test_relations_ignore_rotation_and_scale(
    seed: int, batch: int, width: int, scale: float
) -> None:
    teacher, student = normal(seed, batch, width), normal(seed + 1, batch, width + 2)
    turned = student @ torch.linalg.qr(normal(seed + 2, width + 2, width + 2))[0] * scale
    for loss, tolerance in ((sp, 1e-9), (rkd, 1e-8), (pkt, 1e-5)):
        told = loss(teacher, student).item()
        assert loss(teacher, turned).item() == pytest.approx(told, rel=tolerance, abs=1e-7)
    told = rkd(teacher, student).item()
    assert rkd(teacher, turned + 3).item() == pytest.approx(told, rel=1e-8, abs=1e-9)


@given(seed=SEEDS, width=SIZES, other=SIZES, side=SIZES, larger=SIZES)
@settings(max_examples=25, deadline=None)
def test_maps_of_any_width_and_size_compare(
    seed: int, width: int, other: int, side: int, larger: int
) -> None:
    teacher = normal(seed, 3, width, side, side)
    student = normal(seed + 1, 3, other, side + larger, side)
    pooled = torch.nn.functional.adaptive_avg_pool2d(student, side)
    shuffled = student[:, torch.randperm(other, generator=torch.Generator().manual_seed(seed))]
    for loss in (at, nst):
        told = loss(teacher, student).item()
        assert loss(teacher, pooled).item() == pytest.approx(told, rel=1e-9)
        assert loss(teacher, shuffled).item() == pytest.approx(told, rel=1e-9)
        assert loss(student, teacher).item() == pytest.approx(told, rel=1e-9)


def test_sp_is_the_relation_proxy_turned_round() -> None:
    teacher, student = normal(0, 4, 3, 2, 2), normal(1, 4, 5)
    expected = -relation_similarity(relation_matrix(teacher), relation_matrix(student))
    assert torch.equal(sp(teacher, student), expected)


def test_the_order_of_the_batch_matters_to_cc_alone() -> None:
    order = torch.tensor([2, 0, 3, 1])
    for name, loss in LOSSES.items():
        teacher, student = pair(name, 3)
        same = loss(teacher[order], student[order]).item() == pytest.approx(
            loss(teacher, student).item(), rel=1e-9
        )
        assert same == (loss is not cc)


@given(seed=SEEDS, batch=SIZES, width=SIZES)
@settings(max_examples=25, deadline=None)
def test_losses_written_out(seed: int, batch: int, width: int) -> None:
    teacher, student = normal(seed, batch, width), normal(seed + 1, batch, width)
    squares = [(a - b) ** 2 for a, b in zip(teacher.flatten(), student.flatten(), strict=True)]
    assert fitnet(teacher, student).item() == pytest.approx((sum(squares) / len(squares)).item())
    told, said = ((logits / 2).softmax(1) for logits in (teacher, student))
    divergence = (told * (told / said).log()).sum() / batch
    assert kd(teacher, student, temperature=2).item() == pytest.approx(4 * divergence.item())
    weighted = [
        rkd(teacher, student, distance_weight=a, angle_weight=b) for a, b in ((1, 0), (0, 1))
    ]
    expected = 25 * weighted[0] + 50 * weighted[1]
    assert rkd(teacher, student).item() == pytest.approx(expected.item())
    assert nst(teacher[..., None, None], student[..., None, None]).item() == pytest.approx(0)


@each_loss
def test_partials_survive_pickling(name: str) -> None:
    teacher, student = pair(name, 0)
    loss = pickle.loads(pickle.dumps(partial(LOSSES[name])))
    assert torch.equal(loss(teacher, student), LOSSES[name](teacher, student))


@pytest.mark.parametrize("loss", [ickd, vid_of_one])
def test_channels_are_never_regrouped(loss: Loss) -> None:
    with pytest.raises(ValueError, match=r"(width|equal shapes).*\(2, 8, 3, 3\).*\(2, 4, 3, 3\)"):
        loss(normal(0, 2, 8, 3, 3), normal(1, 2, 4, 3, 3))


def test_a_scale_a_channel() -> None:
    maps = normal(0, 2, 4, 3, 3)
    with pytest.raises(ValueError, match=r"log_scale \(3,\).*4 channels"):
        vid(maps, maps, log_scale=torch.zeros(3))


def test_a_label_an_image_and_two_classes() -> None:
    for width, labels in ((5, 3), (1, 4)):
        logits = normal(0, 4, width)
        with pytest.raises(ValueError, match=rf"labels \({labels},\), logits \(4, {width}\)"):
            dkd(logits, logits, labels=torch.zeros(labels, dtype=torch.long))


@given(seed=SEEDS, batch=SIZES, width=st.integers(2, 6))
@settings(max_examples=25, deadline=None)
def test_decoupled_parts_make_up_the_divergence(seed: int, batch: int, width: int) -> None:
    """KL = target part + (1 - p_y) x the others' part, written out image by image."""
    teacher, student = normal(seed, batch, width), normal(seed + 1, batch, width)
    labels = torch.randint(width, (batch,), generator=torch.Generator().manual_seed(seed))
    total = 0.0
    for t, s, y in zip(teacher, student, labels.tolist(), strict=True):
        row = {"labels": torch.tensor([y]), "temperature": 1.0}
        target = dkd(t[None], s[None], alpha=1, beta=0, **row)
        others = dkd(t[None], s[None], alpha=0, beta=1, **row)
        total += (target + (1 - t.softmax(0)[y]) * others).item()
    assert kd(teacher, student, temperature=1.0).item() == pytest.approx(total / batch, abs=1e-12)


@given(seed=SEEDS, batch=SIZES, width=SIZES, scale=st.floats(0.1, 10))
@settings(max_examples=25, deadline=None)
def test_standardised_logits_know_no_scale(seed: int, batch: int, width: int, scale: float) -> None:
    logits = normal(seed, batch, width)
    found = standardize(logits)
    assert found.mean(1).abs().max().item() < 1e-9
    assert found.std(1).tolist() == pytest.approx([1.0] * batch, rel=1e-3)
    assert torch.allclose(standardize(scale * logits + 3), found, rtol=1e-3)


def test_correlations_ignore_what_is_linear() -> None:
    """Rows alone: a student whose probabilities are a mixture with the uniform ones."""
    teacher = normal(0, 6, 5)
    mixed = (0.5 * teacher.softmax(1) + 0.1).log()
    assert dist(teacher, mixed, beta=1, gamma=0).item() == pytest.approx(0, abs=1e-5)
    assert kd(teacher, mixed, temperature=1).item() > 1e-2
