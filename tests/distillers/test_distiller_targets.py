"""Losses on logits against their formulas, written out over images and classes in float64."""

from math import exp, log

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from diswot.distillers.functional import bkd, hard, mlkd, ofa, pld, wsld

Logits = NDArray[np.float64]

DRAW = np.random.default_rng(5)
TEACHER, STUDENT = DRAW.normal(size=(2, 4, 3)) * 2
LABELS = [2, 0, 1, 1]


def loss(function: object, **settings: object) -> float:
    teacher, student = torch.from_numpy(TEACHER), torch.from_numpy(STUDENT)
    return function(teacher, student, **settings).item()


def softmax(row: Logits, temperature: float = 1) -> list[float]:
    powers = [exp(value / temperature) for value in row]
    return [power / sum(powers) for power in powers]


def divergence(one: list[float], other: list[float]) -> float:
    return sum(p * log(p / q) for p, q in zip(one, other, strict=True))


def test_hard_is_the_cross_entropy_with_the_teachers_class() -> None:
    each = [-log(softmax(s)[int(np.argmax(t))]) for t, s in zip(TEACHER, STUDENT, strict=True)]
    assert loss(hard) == pytest.approx(sum(each) / 4, rel=1e-12)


def test_bkd_asks_every_class() -> None:
    each = []
    for t, s in zip(TEACHER, STUDENT, strict=True):
        for p, z in zip(softmax(t), s, strict=True):
            q = 1 / (1 + exp(-z))
            each.append(-p * log(q) - (1 - p) * log(1 - q))
    assert loss(bkd) == pytest.approx(sum(each) / 12, rel=1e-12)


@pytest.mark.parametrize(("eps", "temperature"), [(1.5, 1), (1, 2)])
def test_ofa_enhances_the_labels_target(eps: float, temperature: float) -> None:
    total = 0.0
    for t, s, y in zip(TEACHER, STUDENT, LABELS, strict=True):
        p, q = softmax(t, temperature), softmax(s, temperature)
        total -= ((1 + p[y]) ** eps - 1) * log(q[y])
        total -= sum(p[k] ** eps * log(q[k]) for k in range(3) if k != y)
    settings = {"labels": torch.tensor(LABELS), "eps": eps, "temperature": temperature}
    assert loss(ofa, **settings) == pytest.approx(total / 4, rel=1e-12)


def test_wsld_weighs_by_how_well_both_know_the_image() -> None:
    total = 0.0
    for t, s, y in zip(TEACHER, STUDENT, LABELS, strict=True):
        weight = 1 - exp(-log(softmax(s)[y]) / log(softmax(t)[y]))
        total += weight * divergence(softmax(t, 3), softmax(s, 3)) * 9
    settings = {"labels": torch.tensor(LABELS), "temperature": 3}
    assert loss(wsld, **settings) == pytest.approx(total / 4, rel=1e-6)  # for the 1e-7


def test_mlkd_compares_images_batch_and_classes() -> None:
    total = 0.0
    for temperature in (2, 5):
        p, q = (np.array([softmax(r, temperature) for r in z]) for z in (TEACHER, STUDENT))
        total += sum(divergence(*map(list, pair)) for pair in zip(p, q, strict=True)) * (
            temperature**2 / 4
        )
        images = [(p[i] @ p[j] - q[i] @ q[j]) ** 2 for i in range(4) for j in range(4)]
        columns = range(3)
        classes = [(p[:, i] @ p[:, j] - q[:, i] @ q[:, j]) ** 2 for i in columns for j in columns]
        total += sum(images) / 4 + sum(classes) / 3
    assert loss(mlkd, temperatures=[2, 5]) == pytest.approx(total, rel=1e-12)


def test_pld_follows_the_teachers_order_behind_the_label() -> None:
    total = 0.0
    for t, s, y in zip(TEACHER, STUDENT, LABELS, strict=True):
        order = [y, *sorted({0, 1, 2} - {y}, key=lambda k: -t[k])]
        for place, k in enumerate(order):
            chosen = exp(s[k]) / sum(exp(s[other]) for other in order[place:])
            total -= softmax(t)[k] * log(chosen)
    assert loss(pld, labels=torch.tensor(LABELS)) == pytest.approx(total / 4, rel=1e-12)


def test_what_targets_refuse() -> None:
    logits = torch.zeros(4, 3)
    for function in (ofa, wsld, pld):
        with pytest.raises(ValueError, match=r"labels \(3,\), logits \(4, 3\)"):
            function(logits, logits, labels=torch.zeros(3, dtype=torch.long))
    with pytest.raises(ValueError, match="mlkd needs at least one temperature"):
        mlkd(logits, logits, temperatures=[])
