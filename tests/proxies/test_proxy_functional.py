"""The closed forms against what they are short for."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor
from torch.nn import functional

from diswot.proxies.combine import combine
from diswot.proxies.functional import (
    ClassGradient,
    activation_agreement,
    cam_matrix,
    cam_similarity,
    channel_similarity,
    classifier_gradient,
    log_determinant,
    relation_matrix,
    relation_similarity,
)

SEEDS = st.integers(0, 2**32)
SIZES = st.integers(1, 6)


def normal(seed: int, *shape: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.empty(shape, dtype=torch.float64).normal_(generator=draw)


@given(seed=SEEDS, batch=SIZES, classes=st.integers(2, 6), width=SIZES)
@settings(max_examples=40, deadline=None)
def test_the_class_gradient_is_that_of_autograd(
    seed: int, batch: int, classes: int, width: int
) -> None:
    embedding, weight = normal(seed, batch, width), normal(seed + 1, classes, width)
    labels = torch.randint(classes, (batch,), generator=torch.Generator().manual_seed(seed))
    weight.requires_grad_()
    logits = embedding @ weight.T + normal(seed + 2, classes)
    [expected] = torch.autograd.grad(functional.cross_entropy(logits, labels), weight)
    found = classifier_gradient(logits.detach(), embedding, labels).value
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def written_out(teacher: Tensor, student: Tensor, floor: float) -> float:
    """The K × C × C formula; a row that is zero stays zero."""

    def rows(gradient: Tensor) -> Tensor:
        outer = gradient[:, :, None] * gradient[:, None, :]
        norm = outer.norm(dim=2, keepdim=True)
        scaled = outer / norm.clamp_min(floor)
        return torch.where(outer == 0, torch.zeros_like(outer), scaled)

    classes, width = teacher.shape
    return -((rows(teacher) - rows(student)) ** 2).sum().item() / (classes * width)


@given(
    seed=SEEDS,
    classes=SIZES,
    width=SIZES,
    scale=st.sampled_from([0.0, 1e-8, 1e-6, 1e-3, 1.0, 1e3]),
    floor=st.sampled_from([0.0, 1e-12, 1e-3]),
)
@settings(max_examples=120, deadline=None)
def test_channel_similarity_is_the_formula_written_out(
    seed: int, classes: int, width: int, scale: float, floor: float
) -> None:
    teacher, student = normal(seed, classes, width) * scale, normal(seed + 1, classes, width)
    if seed % 2:
        teacher[0, 0] = 0
        student[-1] = 0
    expected = written_out(teacher, student, floor)
    found = channel_similarity(ClassGradient(teacher), ClassGradient(student), floor=floor).item()
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert found <= 0
    swapped = channel_similarity(ClassGradient(student), ClassGradient(teacher), floor=floor)
    assert swapped.item() == pytest.approx(found, rel=1e-12, abs=1e-14)


@given(seed=SEEDS, classes=SIZES, width=SIZES, floor=st.sampled_from([0.0, 1e-12]))
@settings(max_examples=40, deadline=None)
def test_equal_gradients_are_the_optimum(seed: int, classes: int, width: int, floor: float) -> None:
    gradient = ClassGradient(normal(seed, classes, width) * 1e-5)
    assert channel_similarity(gradient, gradient, floor=floor).item() == 0


def test_the_floor_is_part_of_the_definition() -> None:
    gradient, tiny = normal(0, 4, 5), normal(1, 4, 5) * 1e-9
    exact = channel_similarity(ClassGradient(gradient), ClassGradient(tiny), floor=0)
    floored = channel_similarity(ClassGradient(gradient), ClassGradient(tiny))
    assert not math.isclose(exact.item(), floored.item(), rel_tol=1e-2)
    # Exactly normalised, the length of a gradient means nothing.
    longer = channel_similarity(ClassGradient(gradient), ClassGradient(tiny * 1e6), floor=0)
    assert longer.item() == pytest.approx(exact.item(), rel=1e-9)


@given(seed=SEEDS, batch=SIZES, classes=SIZES, width=SIZES, side=st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_cam_matrix_is_that_of_explicit_maps(
    seed: int, batch: int, classes: int, width: int, side: int
) -> None:
    features, weight = normal(seed, batch, width, side, side), normal(seed + 1, classes, width)
    maps = torch.einsum("nc,bchw->nbhw", weight, features).flatten(1)
    maps = functional.normalize(maps, dim=1, eps=1e-12)
    found = cam_matrix(features, weight)
    torch.testing.assert_close(found, maps @ maps.T, rtol=1e-7, atol=1e-7)


def test_cam_similarity() -> None:
    one, two = (cam_matrix(normal(i, 3, 4 + i, 2, 2), normal(i, 5, 4 + i)) for i in (0, 1))
    expected = -sum((a - b) ** 2 for a, b in zip(one.flatten(), two.flatten(), strict=True)) / 25
    assert cam_similarity(one, two).item() == pytest.approx(expected.item(), rel=1e-12)
    assert cam_similarity(one, one).item() == 0
    with pytest.raises(ValueError, match="class matrices"):
        cam_similarity(one, torch.eye(4))


@given(seed=SEEDS, batch=SIZES, width=SIZES, other=SIZES)
@settings(max_examples=40, deadline=None)
def test_relation_is_the_formula_written_out(seed: int, batch: int, width: int, other: int) -> None:
    maps = normal(seed, batch, width, 2, 2), normal(seed + 1, batch, other, 3, 3)
    grams = []
    for features in maps:
        rows = features.reshape(batch, -1)
        gram = torch.stack([torch.stack([(a * b).sum() for b in rows]) for a in rows])
        grams.append(gram / gram.norm(dim=1, keepdim=True))
    expected = -((grams[0] - grams[1]) ** 2).sum().item() / batch**2
    found = relation_similarity(*map(relation_matrix, maps)).item()
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-14)


def test_dead_features_stay_finite() -> None:
    dead = torch.zeros(3, 4, 2, 2, dtype=torch.float64)
    assert not relation_matrix(dead).any()
    assert not cam_matrix(dead, normal(0, 5, 4)).any()
    gradient = ClassGradient(torch.zeros(3, 4, dtype=torch.float64))
    for floor in (0.0, 1e-12):
        assert channel_similarity(gradient, gradient, floor=floor).item() == 0


def test_relation_needs_one_batch() -> None:
    with pytest.raises(ValueError, match="relation matrices"):
        relation_similarity(torch.eye(3), torch.eye(4))


@given(seed=SEEDS, batch=SIZES, units=SIZES)
@settings(max_examples=40, deadline=None)
def test_agreement_counts_units_on_or_off_in_both(seed: int, batch: int, units: int) -> None:
    inputs = normal(seed, batch, units, 2).float()
    on = (inputs > 0).flatten(1).double()
    expected = on @ on.T + (1 - on) @ (1 - on).T
    assert torch.equal(activation_agreement(inputs), expected)


def test_nwot_of_twins_is_minus_infinity() -> None:
    twins = normal(0, 1, 8).repeat(2, 1)
    assert log_determinant(activation_agreement(twins)).item() == -math.inf


PARTS = st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)), min_size=1, max_size=12)


def as_parts(values: Any) -> list[dict[str, float]]:
    return [{"a": float(a), "b": float(b)} for a, b in values]


@given(values=PARTS)
@settings(max_examples=80, deadline=None)
def test_rank_is_that_of_scipy(values: list[tuple[float, float]]) -> None:
    expected = stats.rankdata(np.array(values), axis=0).sum(axis=1)
    assert combine(as_parts(values), "rank") == pytest.approx(list(expected))
    cubed = [(a**3 if abs(a) > 1e-50 else 0.0, 5 * b + 1e4) for a, b in values]
    if len(set(values)) == len({round(b, 3) for _, b in values}) == len({a for a, _ in cubed}):
        assert combine(as_parts([(a**3, b) for a, b in values]), "rank") == pytest.approx(
            list(expected)
        )


@given(values=st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=2))
@settings(max_examples=80, deadline=None)
def test_zscore_is_that_of_scipy(values: list[tuple[int, int]]) -> None:
    columns = [np.array(column, dtype=float) for column in zip(*values, strict=True)]
    expected = sum(stats.zscore(c) if np.ptp(c) > 0 else np.zeros(len(c)) for c in columns)
    found = combine(as_parts(values), "zscore")
    assert found == pytest.approx(list(expected), abs=1e-9)
    scaled = combine(as_parts([(7 * a + 3, 0.5 * b - 9) for a, b in values]), "zscore")
    assert scaled == pytest.approx(found, abs=1e-9)
    backwards = combine(as_parts(values[::-1]), "zscore")
    assert backwards[::-1] == pytest.approx(found, abs=1e-9)


def test_sums_and_nothing() -> None:
    assert combine(as_parts([(1, 2), (3, 4)]), "sum") == [3, 7]
    for how in ("sum", "zscore", "rank"):
        assert combine([], how) == []
    assert combine(as_parts([(1, 2)]), "zscore") == [0]
    assert combine(as_parts([(1, 2)]), "rank") == [2]


@pytest.mark.parametrize("value", [0.0, 0.25, 0.1, 1e-9])
def test_a_part_that_is_the_same_for_all_adds_nothing(value: float) -> None:
    found = combine(as_parts([(value, 1), (value, 2), (value, 3)]), "zscore")
    assert found == pytest.approx(list(stats.zscore([1, 2, 3])))
