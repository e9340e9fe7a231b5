"""What every loss of the package keeps, found by listing, and what each leaves unchanged."""

import inspect
import math
import pickle
import re
from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from diswot.distillers import functional
from diswot.distillers.functional import at, cka, dist, dkd, ft, kd, nst, ofd, pkt, rkd, sp
from diswot.proxies.functional import relation_matrix, relation_similarity

Loss = Callable[..., Tensor]


def completed(function: Loss) -> Loss:
    """The loss of teacher and student alone; variances are one, so that equal maps give 0."""
    parameters = inspect.signature(function).parameters

    def loss(teacher: Tensor, student: Tensor) -> Tensor:
        scale = teacher.new_full(teacher.shape[1:2], math.log(math.expm1(1 - 1e-5)))
        further = {"labels": teacher.argmax(-1), "log_scale": scale}
        return function(teacher, student, **{k: v for k, v in further.items() if k in parameters})

    return loss


FUNCTIONS = {name: getattr(functional, name) for name in functional.__all__}
LOSSES: dict[str, Loss] = {
    name: completed(function)
    for name, function in FUNCTIONS.items()
    if list(inspect.signature(function).parameters)[:2] == ["teacher", "student"]
}
SEEDS = st.integers(0, 2**32)
SIZES = st.integers(2, 6)
each_loss = pytest.mark.parametrize("name", LOSSES)
each_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def normal(seed: int, *shape: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.empty(shape, dtype=torch.float64).normal_(generator=draw)


def refusal(name: str, teacher: Tensor, student: Tensor) -> str:
    """Why the loss refuses these shapes; empty if it does not."""
    try:
        assert LOSSES[name](teacher, student).isfinite()
    except ValueError as error:
        return str(error)
    return ""


def pair(name: str, seed: int, batch: int = 4, width: int = 5, side: int = 3) -> list[Tensor]:
    """Random teacher and student of one shape that the loss takes."""
    of_maps = refusal(name, normal(0, 4, 5), normal(1, 4, 5))
    shape = (batch, width, side, side) if of_maps else (batch, width)
    return [normal(seed, *shape), normal(seed + 1, *shape)]


def gradient(loss: Loss, teacher: Tensor, student: Tensor) -> Tensor:
    student = student.clone().requires_grad_()
    [slope] = torch.autograd.grad(loss(teacher, student), student)
    return slope


@each_loss
@pytest.mark.parametrize("seed", range(4))
def test_equal_inputs_are_the_optimum(name: str, seed: int) -> None:
    """Unless the docstring says otherwise; up to the floors that some add to a length."""
    [teacher, student], loss = pair(name, seed, batch=6), LOSSES[name]
    text = " ".join(str(FUNCTIONS[name].__doc__).split())
    above, moved = "above 0 for equal inputs" in text, "are no minimum" in text
    best = 2 * teacher.sign() if name == "ab" else teacher.clone()
    apart, together = loss(teacher, student).item(), loss(teacher, best).item()
    assert apart > 0
    assert (together > 0.1) if above else (together == pytest.approx(0, abs=1e-6))
    slope = gradient(loss, teacher, best).abs().max().item()
    assert (slope > 1e-3) if moved else (slope < 1e-5)


@each_loss
@each_dtype
def test_descends_in_the_dtype_it_is_given(name: str, dtype: torch.dtype) -> None:
    teacher, student = (tensor.to(dtype) for tensor in pair(name, 0, side=4))
    loss, kept = LOSSES[name], (teacher.clone(), student.clone())
    documented = str(FUNCTIONS[name].__doc__)
    before = loss(teacher, student)
    downhill = gradient(loss, teacher, student)
    assert before.dtype == downhill.dtype == dtype
    assert before.shape == ()
    step = 1e-3 * before.item() / downhill.square().sum().item()
    after = loss(teacher, student - step * downhill).item()
    constants = "to gradients the weights are constant" in " ".join(documented.split()).lower()
    if constants:
        assert after < before.item()
    else:
        assert after / before.item() == pytest.approx(0.999, abs=2e-4)
    assert torch.equal(teacher, kept[0])
    assert torch.equal(student, kept[1])
    assert pickle.loads(pickle.dumps(partial(FUNCTIONS[name]))).func is FUNCTIONS[name]


@each_loss
@pytest.mark.parametrize("scales", [(0, 1), (1, 0), (0, 0), (1e4, 1e4)])
@each_dtype
def test_dead_and_saturated_features_keep_value_and_gradient_finite(
    name: str, scales: tuple[float, float], dtype: torch.dtype
) -> None:
    teacher, student = (t.to(dtype) * s for t, s in zip(pair(name, 0), scales, strict=True))
    assert LOSSES[name](teacher, student).isfinite()
    assert gradient(LOSSES[name], teacher, student).isfinite().all()


@each_dtype
def test_twins_in_the_batch_do_not_blow_up_the_angles(dtype: torch.dtype) -> None:
    teacher, student = (tensor.to(dtype) for tensor in pair("rkd", 0))
    student = torch.cat([student[:1], student[:1], student[2:]])
    assert gradient(rkd, teacher, student).abs().max().item() < 1e3


@each_loss
def test_shapes_that_do_not_fit_are_refused(name: str) -> None:
    """Another batch, no batch; another width at least where a width of one would be broadcast."""
    [teacher, student] = pair(name, 0)
    shapes = f"teacher {tuple(teacher.shape)}, student {tuple(student[:3].shape)}"
    assert re.fullmatch(f"{name} .*{re.escape(shapes)}", refusal(name, teacher, student[:3]))
    if name != "fitnet":  # which takes features of any shape
        assert refusal(name, normal(0, 4), normal(1, 4))
    wider, narrow = (torch.cat([student, student], 1), student[:, :1])
    assert bool(refusal(name, teacher, wider)) == bool(refusal(name, teacher, narrow))
    for one, other in ((teacher, wider), (teacher, narrow)):
        message = refusal(name, one, other)
        shapes = f"teacher {tuple(one.shape)}, student {tuple(other.shape)}"
        assert not message or re.fullmatch(f"{name} .*{re.escape(shapes)}", message)
    if teacher.ndim == 4:
        for one, other in ((teacher, student.flatten(1)), (teacher.flatten(2), student.flatten(2))):
            assert "maps (B, C, H, W)" in refusal(name, one, other)


def test_what_single_losses_refuse() -> None:
    logits, maps = normal(0, 4, 5), normal(0, 2, 4, 3, 3)
    zeros = torch.zeros(4, dtype=torch.long)
    for loss in (kd, partial(dkd, labels=zeros), dist):
        with pytest.raises(ValueError, match="temperature=0 of"):
            loss(logits, logits, temperature=0)
    with pytest.raises(ValueError, match="power=-1"):
        at(maps, maps, power=-1)
    for loss, setting in ((functional.ab, "margin"), (ft, "power"), (ft, "exponent")):
        with pytest.raises(ValueError, match=rf"^{setting}=-1 of {loss.__name__}: give a"):
            loss(maps, maps, **{setting: -1})
    with pytest.raises(ValueError, match=r"margin \(3,\) of ofd.*4 channels"):
        ofd(maps, maps, margin=torch.zeros(3))
    for name in ("cc", "cka", "rkd"):
        assert f"{name} needs at least 2 images" in refusal(name, logits[:1], logits[:1])
    with pytest.raises(ValueError, match=r"log_scale \(3,\).*4 channels"):
        functional.vid(maps, maps, log_scale=torch.zeros(3))
    for width, labels in ((5, 3), (1, 4)):
        with pytest.raises(ValueError, match=rf"labels \({labels},\), logits \(4, {width}\)"):
            dkd(logits[:, :width], logits[:, :width], labels=zeros[:labels])


@given(seed=SEEDS, batch=SIZES, width=SIZES, scale=st.floats(0.1, 10))
@settings(max_examples=25, deadline=None)
def test_relations_ignore_rotation_and_scale(
    seed: int, batch: int, width: int, scale: float
) -> None:
    teacher, student = normal(seed, batch, width), normal(seed + 1, batch, width + 2)
    turned = student @ torch.linalg.qr(normal(seed + 2, width + 2, width + 2))[0] * scale
    for loss, tolerance in ((sp, 1e-9), (rkd, 1e-8), (partial(pkt, eps=1e-12), 1e-6)):
        value = loss(teacher, student).item()
        assert loss(teacher, turned).item() == pytest.approx(value, rel=tolerance, abs=1e-7)
    for loss in (rkd, cka):
        value = loss(teacher, student).item()
        assert loss(teacher, turned + 3).item() == pytest.approx(value, rel=1e-8, abs=1e-9)
    value = rkd(teacher, student).item()
    parts = [rkd(teacher, student, distance_weight=a, angle_weight=1 - a) for a in (1, 0)]
    assert value == pytest.approx((25 * parts[0] + 50 * parts[1]).item())
    similarity = relation_similarity(relation_matrix(teacher), relation_matrix(student))
    assert torch.equal(sp(teacher, student), -similarity)


@given(seed=SEEDS, width=SIZES, other=SIZES, side=SIZES, larger=SIZES)
@settings(max_examples=25, deadline=None)
def test_maps_of_any_width_and_size_compare(
    seed: int, width: int, other: int, side: int, larger: int
) -> None:
    teacher = normal(seed, 3, width, side, side)
    student = normal(seed + 1, 3, other, side + larger, side)
    pooled = torch.nn.functional.adaptive_avg_pool2d(student, side)
    shuffled = student[:, torch.randperm(other, generator=torch.Generator().manual_seed(seed))]
    for loss in (at, nst, ft):
        value = loss(teacher, student).item()
        for one, two in ((teacher, pooled), (teacher, shuffled), (student, teacher)):
            assert loss(one, two).item() == pytest.approx(value, rel=1e-9)


@given(seed=SEEDS, width=SIZES, side=SIZES)
@settings(max_examples=25, deadline=None)
def test_what_preactivation_losses_count(seed: int, width: int, side: int) -> None:
    """Value by value, as the papers define them."""
    teacher, student = (2 * normal(seed + i, 2, width, side, side) for i in (0, 1))
    margin = functional.mean_of_negatives(teacher)
    boundary = distance = 0.0
    for place in torch.cartesian_prod(*map(torch.arange, teacher.shape)):
        t, s, m = teacher[*place].item(), student[*place].item(), margin[place[1]].item()
        target = max(t, m)
        distance += 0.0 if s <= target <= 0 else (s - target) ** 2
        outside = s > 1 if t > 0 else s <= -1
        boundary += 0.0 if outside else (abs(s - 1) if t > 0 else abs(s + 1)) ** 2
    for channel in range(width):
        negative = [v for v in teacher[:, channel].flatten().tolist() if v < 0]
        mean = sum(negative) / max(len(negative), 1)
        assert margin[channel].item() == pytest.approx(mean)
    assert ofd(teacher, student).item() == pytest.approx(distance / 2)
    assert functional.ab(teacher, student).item() == pytest.approx(0.003 * boundary / 2)


@each_loss
def test_the_order_of_the_batch_matters_only_where_the_docstring_says_so(name: str) -> None:
    order, [teacher, student] = torch.tensor([2, 0, 3, 1]), pair(name, 3)
    before, after = (LOSSES[name](teacher[i], student[i]).item() for i in (slice(4), order))
    documented = "depends on the order of the batch" in str(FUNCTIONS[name].__doc__)
    assert (after != pytest.approx(before, rel=1e-9)) == documented
