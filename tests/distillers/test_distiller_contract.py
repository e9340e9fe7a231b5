"""The contract of every member of conf/distiller, found by listing."""

import inspect
import math
import re
from dataclasses import replace

import pytest
import torch
from distiller_helpers import MEMBERS, built, composed, pair

from diswot.config import conf_dir
from diswot.errors import UserError
from diswot.models.outputs import NetworkOutputs

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
    known = dict(inspect.signature(type(distiller)).parameters)
    for inherited in ("weights", "ce_weight"):
        known.pop(inherited, None)
    assert set(node) - {"_target_"} == {*known, "weight", "ce_weight"}
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
    networks.head(networks.outputs()[1].embedding).square().mean().backward()
    for key, parameter in distiller.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all()
        # BatchNorm takes the effect of a bias before it away.
        assert key.endswith("conv.bias") or parameter.grad.abs().max() > 0, key
    assert all(p.grad is None for p in networks.teacher.parameters())


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
        distiller.attach(networks.teacher.fc, networks.student.fc, networks.labels)
        assert distiller(*outputs, networks.step()).isfinite()
        assert distiller(*blind, networks.step()).isfinite() == distiller.logits_only
        return
    assert not distiller.logits_only
    assert re.match(rf"distiller\.{name} reads feature maps.* 0 stages", refusal)


@pytest.mark.parametrize("name", [each for each in MEMBERS if not built(each).needs_teacher])
def test_without_a_teacher_none_is_read(name: str) -> None:
    networks = pair("width")
    distiller, (_, student) = built(name), networks.outputs()
    unread = NetworkOutputs((), (), student.embedding[:0], student.logits * math.nan)
    distiller.connect(unread, student)
    loss = distiller(unread, student, networks.step())
    assert loss.isfinite()
    assert loss > 0


@each_member
@pytest.mark.parametrize("kind", ["depth", "width"])
def test_without_a_classifier_of_the_teacher_it_gives_the_same(name: str, kind: str) -> None:
    """Unless it says that it reads the logits or the classifier."""
    networks = pair(kind)
    loss = networks.loss(networks.connected(name))
    torch.nn.init.constant_(networks.teacher.fc.weight, math.nan)
    distiller = networks.connected(name)
    seen, head = networks.loss(distiller), networks.head
    same = torch.equal(seen, loss) and head is not None and bool(head.weight.isfinite().all())
    assert same == (not distiller.reads_classifier)


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
