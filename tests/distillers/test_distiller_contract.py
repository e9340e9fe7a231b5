"""What every member of conf/distiller keeps."""

from __future__ import annotations

import inspect
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from distiller_helpers import MEMBERS, Pair, built, composed, pair

from diswot.config import conf_dir
from diswot.distillers import Distiller
from diswot.errors import UserError
from diswot.models.outputs import NetworkOutputs

KINDS = ("depth", "width", "stages")
each_member = pytest.mark.parametrize("name", MEMBERS)
WITHOUT_CONNECTOR = {"fitnet": {"connector": "auto"}, "ickd": {"connector": "auto"}}
NOT_ZERO_AT_EQUALITY = {"vid": "a likelihood", "cc": "compares two embeddings drawn apart"}


def shifted_by_norm(name: str) -> bool:
    """Whether BatchNorm takes a parameter's effect away."""
    return name.endswith("conv.bias")


@each_member
def test_its_yaml_says_what_it_is(name: str) -> None:
    lines = (conf_dir() / "distiller" / f"{name}.yaml").read_text().splitlines()
    assert lines[0] == f"# @package distiller.{name}"
    assert re.fullmatch(r"# .*\(.*(20\d\d)\).*", lines[1])
    assert [line.split(":")[0] for line in lines[2:6]] == [
        "_target_",
        "name",
        "weight",
        "ce_weight",
    ]
    distiller = built(name)
    assert distiller.name == name
    assert inspect.getdoc(type(distiller))
    node = composed(name)[name]
    known = inspect.signature(type(distiller)).parameters
    assert set(node) - {"_target_"} == set(known)  # type: ignore[call-overload]
    for setting, parameter in known.items():
        if parameter.default is not inspect.Parameter.empty:
            assert node[setting] == parameter.default  # type: ignore[index]


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
    seen = [p.grad for p in networks.student.parameters() if p.grad is not None]
    assert seen
    assert all(gradient.isfinite().all() for gradient in seen)
    assert networks.student.conv1.weight.grad.abs().max() > 0
    for key, parameter in distiller.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all()
        assert shifted_by_norm(key) or parameter.grad.abs().max() > 0, key
    assert all(p.grad is None for p in networks.teacher.parameters())


@each_member
def test_it_changes_nothing_it_is_given(name: str) -> None:
    networks = pair("depth")
    distiller = networks.connected(name)
    told, said, step = networks.told(), networks.said(), networks.step()
    given = [told.logits, told.embedding, *told.stages, said.logits, said.embedding, *said.stages]
    kept = [tensor.detach().clone() for tensor in given]
    random = torch.get_rng_state()
    distiller(told, said, step)
    assert all(torch.equal(a, b) for a, b in zip(given, kept, strict=True))
    assert torch.equal(torch.get_rng_state(), random)


@each_member
def test_a_step_downhill_lowers_it(name: str) -> None:
    networks = pair("width")
    distiller = networks.connected(name)
    parameters = [*networks.student.parameters(), *distiller.parameters()]
    before = networks.loss(distiller, epoch=99)
    gradients = torch.autograd.grad(before, parameters, allow_unused=True)
    square = sum(g.square().sum().item() for g in gradients if g is not None)
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                parameter.sub_(0.01 * before.abs() / square * gradient)
    after = networks.loss(distiller, epoch=99)
    assert (before - after).item() == pytest.approx(0.01 * before.abs().item(), rel=0.5)


@each_member
def test_equal_networks_are_the_optimum(name: str) -> None:
    if name in NOT_ZERO_AT_EQUALITY:
        pytest.skip(NOT_ZERO_AT_EQUALITY[name])
    settings = WITHOUT_CONNECTOR.get(name, {})
    same, other = pair("equal"), pair("depth")
    found = same.loss(same.connected(name, **settings), epoch=99).item()
    apart = other.loss(other.connected(name, **settings), epoch=99).item()
    assert found == pytest.approx(0, abs=1e-3 * apart)
    assert apart > 0


@each_member
def test_its_state_is_all_of_it(name: str) -> None:
    networks = pair("width")
    distiller = networks.connected(name)
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
def test_connecting_is_drawn_from_the_seed_alone(name: str) -> None:
    networks = pair("width")
    one, two = (networks.connected(name).state_dict() for _ in range(2))
    assert all(torch.equal(one[key], two[key]) for key in one)


@each_member
def test_what_it_reads_is_what_it_says(name: str) -> None:
    """Logits alone suffice where it says so; elsewhere there is something else it needs."""
    networks = pair("depth")
    told, said = (only_logits(outputs) for outputs in (networks.told(), networks.said()))
    distiller = built(name)
    if distiller.logits_only:
        distiller.connect(told, said)
        assert distiller(told, said, networks.step()).isfinite()
        return
    if name not in ("cc", "rkd", "pkt"):
        with pytest.raises(UserError, match=rf"distiller.{name} reads feature maps.* 0 stages"):
            distiller.connect(told, said)


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
@pytest.mark.parametrize("wrong", [-1, float("nan"), "much", None])
def test_wrong_weights_are_refused(name: str, setting: str, wrong: object) -> None:
    with pytest.raises(UserError, match=rf"^distiller\.{name}\.{setting}={wrong} .*at least 0$"):
        built(name, **{setting: wrong})


def test_none_is_an_empty_choice() -> None:
    assert composed("none") == {}
    assert set(composed("[kd,diswot]", "distiller.kd.temperature=2")) == {"kd", "diswot"}


def test_the_page_lists_every_distiller() -> None:
    page = (Path(__file__).parents[2] / "docs" / "distillers.md").read_text(encoding="utf-8")
    rows = {row[0]: row for row in map(cells, page.splitlines()) if row and row[0][:1] == "`"}
    assert sorted(row.strip("`") for row in rows) == MEMBERS
    for name in MEMBERS:
        distiller = built(name)
        assert rows[f"`{name}`"][2:4] == [f"{distiller.weight:g}", f"{distiller.ce_weight:g}"]
        assert (rows[f"`{name}`"][4] == "logits") == distiller.logits_only


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def only_logits(outputs: NetworkOutputs) -> NetworkOutputs:
    return replace(outputs, stages=(), preactivations=())


def test_members_are_distillers_and_pairs_differ() -> None:
    assert all(issubclass(type(built(name)), Distiller) for name in MEMBERS)
    shapes = [shapes_of(pair(kind)) for kind in KINDS]
    assert shapes[0][0] == shapes[0][1]
    assert all(t != s for t, s in zip(*shapes[1], strict=True))
    assert [len(side) for side in shapes[2]] == [4, 3]


def shapes_of(networks: Pair) -> tuple[list[torch.Size], list[torch.Size]]:
    told, said = networks.told(), networks.said()
    return [m.shape for m in told.stages], [m.shape for m in said.stages]
