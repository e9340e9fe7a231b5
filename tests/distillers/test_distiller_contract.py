"""The contract of every member of conf/distiller, found by listing."""

from __future__ import annotations

import inspect
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from distiller_helpers import MEMBERS, built, composed, pair

from diswot.config import conf_dir
from diswot.errors import UserError

KINDS = ("depth", "width", "stages")
each_member = pytest.mark.parametrize("name", MEMBERS)


@each_member
def test_its_yaml_says_what_it_is(name: str) -> None:
    lines = (conf_dir() / "distiller" / f"{name}.yaml").read_text().splitlines()
    assert lines[0] == f"# @package distiller.{name}"
    assert re.fullmatch(r"# .*\(.*(20\d\d)\).*", lines[1])
    keys = [line.split(":")[0] for line in lines[2:6]]
    assert keys == ["_target_", "name", "weight", "ce_weight"]
    distiller, node = built(name), composed(name)[name]
    assert distiller.name == name
    assert inspect.getdoc(type(distiller))
    known = inspect.signature(type(distiller)).parameters
    assert set(node) - {"_target_"} == set(known)
    for setting, parameter in known.items():
        assert parameter.default in (inspect.Parameter.empty, node[setting])


@each_member
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_student_and_connectors(name: str, kind: str) -> None:
    networks = pair(kind)
    distiller = networks.connected(name)
    loss = networks.loss(distiller)
    assert loss.shape == ()
    assert loss.isfinite()
    assert loss.dtype == torch.float32
    (distiller.weight * loss).backward()
    reached = [p.grad for p in networks.student.parameters() if p.grad is not None]
    assert all(gradient.isfinite().all() for gradient in reached)
    assert networks.student.conv1.weight.grad.abs().max() > 0
    for key, parameter in distiller.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all()
        # BatchNorm takes the effect of a bias before it away.
        assert key.endswith("conv.bias") or parameter.grad.abs().max() > 0, key
    assert all(p.grad is None for p in networks.teacher.parameters())


@each_member
def test_it_changes_nothing_it_is_given(name: str) -> None:
    networks = pair("depth")
    distiller = networks.connected(name)
    outputs, step = networks.outputs(), networks.step()
    given = [t for each in outputs for t in (each.logits, each.embedding, *each.stages)]
    kept = [tensor.detach().clone() for tensor in given]
    random = torch.get_rng_state()
    distiller(*outputs, step)
    assert all(torch.equal(a, b) for a, b in zip(given, kept, strict=True))
    assert torch.equal(torch.get_rng_state(), random)


@each_member
def test_a_step_downhill_lowers_it(name: str) -> None:
    networks = pair("width")
    distiller = networks.connected(name)
    parameters = [*networks.student.parameters(), *distiller.parameters()]
    before = networks.loss(distiller, epoch=99)
    gradients = torch.autograd.grad(before, parameters, materialize_grads=True)
    square = sum(gradient.square().sum().item() for gradient in gradients)
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.sub_(0.01 * before.abs() / square * gradient)
    after = networks.loss(distiller, epoch=99)
    assert (before - after).item() == pytest.approx(0.01 * before.abs().item(), rel=0.5)


@each_member
def test_equal_networks_are_the_optimum(name: str) -> None:
    """Without what it learns itself, which starts from random numbers."""
    auto = {"connector": "auto"} if "connector" in composed(name)[name] else {}
    same, other = pair("equal"), pair("depth")
    distiller = same.connected(name, **auto)
    apart = other.loss(other.connected(name, **auto), epoch=99).item()
    if not list(distiller.parameters()):
        assert same.loss(distiller, epoch=99).item() == pytest.approx(0, abs=1e-3 * apart)
        assert apart > 0


@each_member
def test_its_state_is_all_of_it_and_drawn_from_the_seed_alone(name: str) -> None:
    networks = pair("width")
    distiller, twin = networks.connected(name), networks.connected(name)
    state = distiller.state_dict()
    assert all(torch.equal(state[key], value) for key, value in twin.state_dict().items())
    networks.loss(distiller).backward()
    with torch.no_grad():
        for parameter in distiller.parameters():
            parameter.add_(0.1)
    restored = networks.connected(name)
    if list(distiller.parameters()):
        assert networks.loss(restored).item() != networks.loss(distiller).item()
    restored.load_state_dict(distiller.state_dict())
    assert networks.loss(restored).item() == networks.loss(distiller).item()


@each_member
def test_what_it_reads_is_what_it_says(name: str) -> None:
    """Without maps it refuses the pair, or reads the embedding, or says that logits suffice."""
    networks, distiller = pair("depth"), built(name)
    outputs = [replace(each, stages=(), preactivations=()) for each in networks.outputs()]
    try:
        distiller.connect(*outputs)
    except UserError as error:
        refusal = str(error)
    else:
        blind = [replace(each, embedding=each.embedding * math.nan) for each in outputs]
        assert distiller(*outputs, networks.step()).isfinite()
        assert distiller(*blind, networks.step()).isfinite() == distiller.logits_only
        return
    assert not distiller.logits_only
    assert re.match(rf"distiller\.{name} reads feature maps.* 0 stages", refusal)


@each_member
def test_the_last_small_batch_is_served(name: str) -> None:
    networks = pair("depth")
    distiller = networks.connected(name)
    networks.images, networks.seen = networks.images[:1], networks.seen[:1]
    networks.labels = networks.labels[:1]
    loss = networks.loss(distiller)
    loss.backward()
    assert loss.isfinite()


@each_member
@pytest.mark.parametrize("setting", ["weight", "ce_weight"])
def test_wrong_weights_are_refused(name: str, setting: str) -> None:
    for wrong in (-1, math.nan, "much", None):
        problem = rf"^distiller\.{name}\.{setting}={wrong} .*at least 0$"
        with pytest.raises(UserError, match=problem):
            built(name, **{setting: wrong})


def test_none_is_an_empty_choice() -> None:
    assert composed("none") == {}
    assert set(composed("[kd,diswot]", "distiller.kd.temperature=2")) == {"kd", "diswot"}


def test_the_rows_of_the_page_are_those_of_the_yaml() -> None:
    page = (Path(__file__).parents[2] / "docs" / "distillers.md").read_text(encoding="utf-8")
    cells = [[c.strip() for c in line.split("|")[1:-1]] for line in page.splitlines()]
    rows = {row[0].strip("`"): row for row in cells if row and row[0].startswith("`")}
    assert len(rows) > 12
    assert list(rows) == sorted(set(rows) & set(MEMBERS))
    for name, row in rows.items():
        distiller = built(name)
        assert row[2:4] == [f"{distiller.weight:g}", f"{distiller.ce_weight:g}"]
        assert (row[4] == "logits") == distiller.logits_only
