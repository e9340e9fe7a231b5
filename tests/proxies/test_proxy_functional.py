"""The pure functions against what they are short for; examples of both mathematics packages."""

import doctest
import importlib
import math
import pkgutil
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional as F

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


def test_zico_leaves_out_what_never_changes_and_epe_nas_a_class_of_one() -> None:
    gradients = torch.tensor([[1.0, 5.0, 0.0, -2.0], [3.0, 5.0, 0.0, 2.0]])
    alike = torch.tensor([0.1, 0.7, 1 / 3], dtype=torch.float64).repeat(3, 1)
    layers = [gradients, gradients[:, 1:3], alike]
    assert functional.zico(layers).item() == pytest.approx(math.log(2 / 1 + 2 / 2))
    with pytest.raises(ValueError, match="no layer has a gradient that changes"):
        functional.zico(layers[1:])
    rows, alone, three = normal(3, 4, 9), torch.tensor([0, 1, 0, 0]), torch.tensor([0, 0, 0])
    more = functional.epe_nas(rows, alone, 10) - functional.epe_nas(rows[[0, 2, 3]], three, 10)
    assert more.item() == pytest.approx(math.log(1 + 1e-5), rel=1e-6)
    assert functional.epe_nas(rows, alone, 101).item() == 0


def test_what_has_no_value() -> None:
    nans = torch.full((3, 3), math.nan, dtype=torch.float64)
    for function, values, message in (
        (functional.jacov, nans, "not finite"),
        (functional.condition_number, nans, "not finite"),
        (functional.condition_number, torch.zeros_like(nans), "singular"),
        (partial(functional.linear_regions, nn.ReLU()), nans, "on a map"),
    ):
        with pytest.raises(ValueError, match=message):
            function(values)
