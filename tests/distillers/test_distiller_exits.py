"""Exits of a student's stages, and what learns from them or from dropouts."""

from dataclasses import replace

import pytest
import torch
from distiller_helpers import CLASSES, built, pair
from torch import nn
from torch.nn.functional import cross_entropy, kl_div, linear

from diswot.distillers import functional, needing_teacher
from diswot.distillers.exits import Exit
from diswot.errors import UnfitError


def test_exits_halve_and_widen_towards_the_last_stage() -> None:
    maps = [torch.rand(2, *shape) for shape in ((8, 16, 16), (16, 8, 8), (24, 4, 4))]
    channels, shapes = [], []
    for stage, one in enumerate(maps):
        exit_ = Exit(maps[stage:], 20, 7)
        own, logits = exit_(one)
        assert torch.allclose(logits, exit_.classifier(own.mean((2, 3))))
        assert logits.shape == (2, 7)
        shapes.append(tuple(own.shape[1:]))
        convolutions = [m for m in exit_.modules() if isinstance(m, nn.Conv2d) and m.groups == 1]
        channels.append([conv.out_channels for conv in convolutions])
    assert shapes == [(20, 4, 4)] * 3
    assert channels == [[8, 16, 16, 20], [16, 20], [20]]


@pytest.mark.parametrize("sides", [(5, 5, 5), (4, 2, 1), (9, 1)])
def test_exits_serve_one_image_of_any_size(sides: tuple[int, ...]) -> None:
    maps = [torch.rand(1, 8, side, side) for side in sides]
    for stage, one in enumerate(maps):
        own, logits = Exit(maps[stage:], 8, 3)(one)
        assert logits.shape == (1, 3)
        assert own.shape[-1] <= max(sides[-1], (sides[stage] + 1) // 2, 2)


def test_ofa_adds_the_exits_to_the_student() -> None:
    networks = pair("width")
    distiller, (teacher, student) = networks.connected("ofa", eps=1.5), networks.outputs()
    left = [each(maps)[1] for each, maps in zip(distiller.exits, student.stages, strict=True)]
    losses = [
        functional.ofa(teacher.logits, each, labels=networks.labels, eps=1.5)
        for each in (student.logits, *left)
    ]
    assert len(losses) == 4
    loss = distiller(teacher, student, networks.step())
    assert loss.item() == pytest.approx(sum(losses).item(), rel=1e-5)
    assert all(each.classifier.in_features == 20 for each in distiller.exits)


def test_byot_teaches_the_exits_alone() -> None:
    networks = pair("depth")
    settings = {"alpha": 0.25, "hint_weight": 0.5, "temperature": 2.0}
    distiller, (_, student) = networks.connected("byot", **settings), networks.outputs()
    expected, target = 0.0, (student.logits / 2).softmax(1)
    for each, maps in zip(distiller.exits, student.stages[:-1], strict=True):
        own, logits = each(maps)
        hint = (own - student.stages[-1]).square().sum((1, 2, 3)).mean()
        taught = 4 * kl_div((logits / 2).log_softmax(1), target, reduction="batchmean")
        label = cross_entropy(logits, networks.labels)
        expected += 0.75 * label + 0.25 * taught + 0.5 * hint
    loss = networks.loss(distiller)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    loss.backward()
    assert networks.student.fc.weight.grad is None  # the deepest classifier is no student of it


def test_dropouts_are_those_of_the_step() -> None:
    networks = pair("depth")
    distiller, (teacher, student) = networks.connected("sd_dropout"), networks.outputs()
    step = networks.step()
    losses = [distiller(teacher, student, replace(step, seed=seed)).item() for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]
    assert networks.loss(networks.connected("sd_dropout", dropout=0)).item() == 0
    draw = torch.Generator().manual_seed(3)
    dropped = distiller._dropped(student, step.student_weight, draw)
    kept = torch.rand(student.embedding.shape, generator=draw.manual_seed(3)) >= 0.5
    inputs = student.embedding * kept * 2
    fc = networks.student.fc
    assert torch.allclose(dropped, linear(inputs, fc.weight, fc.bias), atol=1e-5)
    assert dropped.shape == (6, CLASSES)


def test_one_stage_has_no_shallower_exit() -> None:
    teacher, student = pair("depth").outputs()
    student = replace(student, stages=student.stages[-1:])
    with pytest.raises(
        UnfitError, match=r"^distiller\.byot needs a student of at least two stages"
    ):
        built("byot").connect(teacher, student)


def test_who_needs_a_teacher() -> None:
    kd = {"_target_": "diswot.distillers.logits.KD", "name": "kd", "weight": 1}
    alone = {"_target_": "diswot.distillers.itself.SDDropout", "name": "sd_dropout", "weight": 1}
    assert needing_teacher({"kd": kd, "sd_dropout": alone}) == ["kd"]
    assert needing_teacher({}) == []
