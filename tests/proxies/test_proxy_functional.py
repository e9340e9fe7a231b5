"""The pure functions against what they are short for; examples of both mathematics packages."""

from __future__ import annotations

import doctest
import importlib
import math
import pkgutil
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

import diswot.distillers.functional
from diswot.proxies import functional

PACKAGES = (functional, diswot.distillers.functional)
SEEDS = st.integers(0, 2**32)
SIZES = st.integers(1, 6)


def normal(seed: int, *shape: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.empty(shape, dtype=torch.float64).normal_(generator=draw)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_every_public_function_has_an_example_that_holds(package: ModuleType) -> None:
    modules = [
        importlib.import_module(f"{package.__name__}.{info.name}")
        for info in pkgutil.iter_modules(package.__path__)
    ]
    public = {name for module in modules if "._" not in module.__name__ for name in module.__all__}
    assert public <= set(package.__all__)
    with torch.random.fork_rng(devices=[]):
        for module in [*modules, importlib.import_module("diswot.proxies.base")]:
            assert doctest.testmod(module).failed == 0
    finder = doctest.DocTestFinder(recurse=False)
    for name in package.__all__:
        [example_of] = finder.find(getattr(package, name), name)
        assert any(example.want for example in example_of.examples), name


@given(seed=SEEDS, batch=SIZES, classes=st.integers(2, 6), width=SIZES)
@settings(max_examples=40, deadline=None)
def test_the_class_gradient_is_that_of_autograd(
    seed: int, batch: int, classes: int, width: int
) -> None:
    embedding, weight = normal(seed, batch, width), normal(seed + 1, classes, width)
    labels = torch.randint(classes, (batch,), generator=torch.Generator().manual_seed(seed))
    logits = embedding @ weight.requires_grad_().T + normal(seed + 2, classes)
    [expected] = torch.autograd.grad(F.cross_entropy(logits, labels), weight)
    closed = functional.classifier_gradient(logits.detach(), embedding, labels)
    torch.testing.assert_close(closed, expected, rtol=1e-10, atol=1e-12)


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
    value = functional.channel_similarity(teacher, student, floor=floor).item()
    assert value == pytest.approx(written_out(teacher, student, floor), rel=1e-9, abs=1e-12)
    assert value <= 0
    swapped = functional.channel_similarity(student, teacher, floor=floor).item()
    assert swapped == pytest.approx(value, rel=1e-12, abs=1e-14)
    assert functional.channel_similarity(teacher * 1e-5, teacher * 1e-5, floor=floor).item() == 0


@given(seed=SEEDS, batch=SIZES, classes=SIZES, width=SIZES, side=st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_cam_matrix_is_that_of_explicit_maps(
    seed: int, batch: int, classes: int, width: int, side: int
) -> None:
    features, weight = normal(seed, batch, width, side, side), normal(seed + 1, classes, width)
    maps = torch.einsum("nc,bchw->nbhw", weight, features).flatten(1)
    maps = F.normalize(maps, dim=1, eps=1e-12)
    matrix = functional.cam_matrix(features, weight)
    torch.testing.assert_close(matrix, maps @ maps.T, rtol=1e-7, atol=1e-7)
    other = functional.cam_matrix(
        normal(seed + 2, batch, width + 1, side, 1), normal(seed, classes, width + 1)
    )
    expected = -((matrix - other) ** 2).sum().item() / classes**2
    assert functional.cam_similarity(matrix, other).item() == pytest.approx(expected, rel=1e-12)


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
    value = functional.relation_similarity(*map(functional.relation_matrix, maps)).item()
    assert value == pytest.approx(expected, rel=1e-9, abs=1e-14)
    for similarity in (functional.relation_similarity, functional.cam_similarity):
        assert similarity(grams[0], grams[0]).item() == 0


def test_dead_features_stay_finite_and_other_sizes_are_refused() -> None:
    dead = torch.zeros(3, 4, 2, 2, dtype=torch.float64)
    assert not functional.relation_matrix(dead).any()
    assert not functional.cam_matrix(dead, normal(0, 5, 4)).any()
    for floor in (0.0, 1e-12):
        assert (
            functional.channel_similarity(dead[..., 0, 0], dead[..., 0, 0], floor=floor).item() == 0
        )
    for similarity, kind in (
        (functional.relation_similarity, "relation matrices"),
        (functional.cam_similarity, "class matrices"),
        (functional.channel_similarity, r"classifiers of \(3, 3\) and \(4, 4\)"),
    ):
        with pytest.raises(ValueError, match=kind):
            similarity(torch.eye(3), torch.eye(4))


@given(seed=SEEDS, batch=SIZES, units=SIZES)
@settings(max_examples=40, deadline=None)
def test_agreement_counts_units_on_or_off_in_both(seed: int, batch: int, units: int) -> None:
    inputs = normal(seed, batch, units, 2).float()
    on = (inputs > 0).flatten(1).double()
    assert torch.equal(functional.activation_agreement(inputs), on @ on.T + (1 - on) @ (1 - on).T)
    assert (
        functional.nwot(functional.activation_agreement(inputs[:1].repeat(2, 1, 1))).item()
        == -math.inf
    )


PARTS = st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=1, max_size=12)


def components(values: Any) -> list[dict[str, float]]:
    return [{"a": float(a), "b": float(b)} for a, b in values]


@given(values=PARTS)
@settings(max_examples=80, deadline=None)
def test_combinations_are_those_of_scipy(values: list[tuple[int, int]]) -> None:
    ranks = stats.rankdata(np.array(values), axis=0).sum(axis=1)
    columns = [np.array(column, dtype=float) for column in zip(*values, strict=True)]
    zscores = sum(stats.zscore(c) if np.ptp(c) > 0 else np.zeros(len(c)) for c in columns)
    scaled = [(7 * a**3 + 3, 0.5 * b - 9) for a, b in values]
    for how, expected in (("sum", np.sum(values, axis=1)), ("rank", ranks), ("zscore", zscores)):
        scores = functional.combine(components(values), how)
        assert scores == pytest.approx(list(expected), abs=1e-9)
        assert functional.combine(components(values[::-1]), how) == pytest.approx(
            scores[::-1], abs=1e-9
        )
        assert functional.combine([], how) == []
    assert functional.combine(components(scaled), "rank") == pytest.approx(list(ranks))


@pytest.mark.parametrize("value", [0.0, 0.25, 0.1, 1e-9])
def test_a_component_that_is_the_same_for_all_adds_nothing(value: float) -> None:
    scores = functional.combine(components([(value, 1), (value, 2), (value, 3)]), "zscore")
    assert scores == pytest.approx(list(stats.zscore([1, 2, 3])))


def test_fisher_by_hand() -> None:
    output = torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]], [[[0.0, 1.0]], [[2.0, 2.0]]]])
    gradient = torch.tensor([[[[1.0, 1.0]], [[-1.0, 9.0]]], [[[5.0, -3.0]], [[1.0, 0.0]]]])
    assert functional.fisher(output, gradient).tolist() == [(9 + 9) / 4, (9 + 4) / 4]
    flat = functional.fisher(output.sum((2, 3)), torch.ones(2, 2))
    assert flat.tolist() == [(9 + 1) / 4, (9 + 16) / 4]


def test_correlation_is_that_of_numpy() -> None:
    rows = normal(1, 7, 3, 4, 4).float()
    matrix = functional.row_correlation(rows.contiguous(memory_format=torch.channels_last))
    np.testing.assert_allclose(matrix, np.corrcoef(rows.flatten(1).double()), atol=1e-12)
    assert matrix.diagonal().tolist() == [1.0] * 7
    alike = functional.jacov(rows[:1].expand(5, -1, -1, -1)).item()
    assert alike == pytest.approx(-(math.log(5) + 1 / 5 + 4 * (math.log(1e-5) + 1e5)), rel=1e-6)
    for spoil, message in ((0.0, "the same everywhere"), (math.nan, "not finite")):
        rows[1] = spoil
        with pytest.raises(ValueError, match=message):
            functional.jacov(rows)


def test_classes_by_hand() -> None:
    rows, labels = normal(3, 7, 9), torch.tensor([4, 0, 4, 0, 7, 4, 7])
    kept = [np.log(np.abs(np.corrcoef(rows[labels == c])) + 1e-5) for c in (0, 4, 7)]
    means = [logs.sum() / len(logs) for logs in kept]
    many = sum(abs(a - b) for a in means for b in means) / 3
    few = sum(abs(logs.sum()) for logs in kept)
    assert functional.epe_nas(rows, labels, 100).item() == pytest.approx(few, rel=1e-9)
    assert functional.epe_nas(rows, labels, 101).item() == pytest.approx(many, rel=1e-9)
    alone, pair = torch.tensor([0, 1, 0, 0]), torch.tensor([0, 0, 0])
    more = functional.epe_nas(rows[:4], alone, 10) - functional.epe_nas(rows[[0, 2, 3]], pair, 10)
    assert more.item() == pytest.approx(math.log(1 + 1e-5), rel=1e-6)
    assert functional.epe_nas(rows[:4], alone, 101).item() == 0


def test_zico_leaves_out_what_never_changes() -> None:
    gradients = torch.tensor([[1.0, 5.0, 0.0, -2.0], [3.0, 5.0, 0.0, 2.0]])
    alike = torch.tensor([0.1, 0.7, 1 / 3], dtype=torch.float64).repeat(3, 1)
    layers = [gradients, gradients[:, 1:3], alike]
    assert functional.zico(layers).item() == pytest.approx(math.log(2 / 1 + 2 / 2))
    with pytest.raises(ValueError, match="no layer has a gradient that changes"):
        functional.zico(layers[1:])


def test_the_tangent_kernel_written_out() -> None:
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 4))
    network, images = network.double(), normal(0, 3, 2, 4, 4)
    kernel, rows = functional.tangent_kernel(network, images), []
    for index in range(3):
        network.zero_grad()
        network(images)[index].sum().backward()
        named = network.named_parameters()
        rows.append(torch.cat([p.grad.flatten() for n, p in named if "weight" in n]))
    jacobian = torch.stack(rows)
    torch.testing.assert_close(kernel, jacobian @ jacobian.T, rtol=1e-10, atol=1e-12)


def test_kernels_without_a_condition_number() -> None:
    row = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)
    for singular in (row.T @ row, torch.zeros(3, 3).double()):
        with pytest.raises(ValueError, match="singular"):
            functional.condition_number(singular)
    with pytest.raises(ValueError, match="not finite"):
        functional.condition_number(torch.full((2, 2), torch.nan).double())


def test_regions_are_distinct_patterns_of_maps() -> None:
    patterns = torch.tensor([[1, 0, 1], [1, 0, 1], [1, 0, 0], [0, 0, 1]]).float()
    assert functional.linear_regions(nn.ReLU(), patterns.view(4, 3, 1, 1)) == 3
    assert functional.linear_regions(nn.ReLU6(), torch.zeros(4, 17, 1, 1)) == 1
    with pytest.raises(ValueError, match="on a map"):
        functional.linear_regions(nn.Sequential(nn.Flatten(), nn.ReLU()), patterns.view(4, 3, 1, 1))
