"""Distillation losses as proxies: which outputs they compare, and what they refuse."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from diswot.config import make
from diswot.data import MiniBatch
from diswot.distillers.functional import at, cc, fitnet, kd, nst, pkt, rkd, sp
from diswot.errors import UserError
from diswot.hydra_app import compose
from diswot.models.cost import Cost
from diswot.models.outputs import NetworkOutputs
from diswot.proxies import Proxy
from diswot.proxies.base import ProxyInput
from diswot.proxies.distillation import Distillation

LOSSES: dict[str, Callable[..., Tensor]] = {
    loss.__name__: loss for loss in (kd, fitnet, at, sp, cc, rkd, pkt, nst)
}
PUBLISHED: dict[str, dict[str, Any]] = {
    "kd": {"loss": "kd", "temperature": 4.0, "output": "logits"},
    "fitnet": {"loss": "fitnet", "output": "map"},
    "at": {"loss": "at", "power": 2, "output": "maps"},
    "sp": {"loss": "sp", "output": "map"},
    "cc": {"loss": "cc", "output": "embedding"},
    "rkd": {"loss": "rkd", "distance_weight": 25.0, "angle_weight": 50.0, "output": "embedding"},
    "pkt": {"loss": "pkt", "eps": 1e-7, "output": "embedding"},
    "nst": {"loss": "nst", "output": "map"},
}
each_member = pytest.mark.parametrize("name", PUBLISHED)


def outputs(seed: int, width: int = 6, stages: int = 3) -> NetworkOutputs:
    draw = torch.Generator().manual_seed(seed)
    maps = tuple(
        torch.rand((4, width, 2 ** (stages - i), 2 ** (stages - i)), generator=draw)
        for i in range(stages)
    )
    logits = torch.randn((4, 10), generator=draw)
    return NetworkOutputs(maps, maps, maps[-1].mean((2, 3)), logits)


def member(name: str, *overrides: str) -> Distillation:
    told = [f"proxy.{name}.{override}" for override in overrides]
    config = compose("search", [f"proxy={name}", *told], None)
    made = make(config["proxy"][name], f"proxy.{name}", Proxy)  # type: ignore[type-abstract]
    assert isinstance(made, Distillation)
    return made


def score(proxy: Distillation, teacher: NetworkOutputs, student: NetworkOutputs) -> float:
    batch, network = MiniBatch(torch.zeros(4, 3, 8, 8), torch.arange(4)), nn.Identity()
    summary = {k: t.clone() for k, t in proxy.summarize(teacher, batch, network).items()}
    inputs = ProxyInput(
        arch="x",
        seed=0,
        cost=Cost(1, 1, 1),
        batch=batch,
        network=network,
        outputs=student,
        teacher=summary,
    )
    [(part, value)] = proxy.measure(inputs).items()
    assert part == proxy.name
    return value


@each_member
def test_the_published_choices(name: str) -> None:
    proxy = member(name)
    assert proxy.settings() == PUBLISHED[name]
    assert (proxy.needs_teacher, proxy.outputs_only, proxy.needs_labels) == (True, True, False)


@each_member
def test_the_score_is_minus_the_loss_of_teacher_and_student(name: str) -> None:
    proxy, teacher, student = member(name), outputs(0), outputs(1)
    compared: dict[str, Callable[[NetworkOutputs], tuple[Tensor, ...]]] = {
        "logits": lambda o: (o.logits,),
        "embedding": lambda o: (o.embedding,),
        "map": lambda o: (o.stages[2],),
        "maps": lambda o: o.stages,
    }
    read = compared[PUBLISHED[name]["output"]]
    expected = 0.0
    for told, said in zip(read(teacher), read(student), strict=True):
        expected += LOSSES[name](told.double(), said.double()).item()
    found = score(proxy, teacher, student)
    assert found.hex() == (-expected).hex()
    assert found < 0
    assert score(proxy, teacher, teacher) == 0


@each_member
def test_workers_get_the_same_proxy(name: str) -> None:
    proxy = member(name)
    sent = pickle.loads(pickle.dumps(proxy))
    assert sent.settings() == proxy.settings()
    assert score(sent, outputs(0), outputs(1)) == score(proxy, outputs(0), outputs(1))


def test_settings_reach_the_loss() -> None:
    teacher, student = outputs(0), outputs(1)
    cooler = member("kd", "loss.temperature=1")
    expected = -kd(teacher.logits.double(), student.logits.double(), temperature=1).item()
    assert score(cooler, teacher, student) == expected
    last = member("at", "output=map", "loss.power=4")
    maps = (o.stages[-1].double() for o in (teacher, student))
    assert score(last, teacher, student) == -at(*maps, power=4).item()
    assert last.settings() == {"loss": "at", "power": 4, "output": "map"}


def test_only_what_is_compared_is_kept_of_the_teacher() -> None:
    seen, batch = outputs(0), MiniBatch(torch.zeros(4, 3, 8, 8), torch.arange(4))
    kept = {name: member(name).summarize(seen, batch, nn.Identity()) for name in PUBLISHED}
    assert {name: len(tensors) for name, tensors in kept.items()} == {
        **dict.fromkeys(PUBLISHED, 1),
        "at": 3,
    }
    [only] = kept["kd"].values()
    assert only is seen.logits


@pytest.mark.parametrize("name", ["fitnet", "cc"])
def test_widths_that_differ_fail_the_candidate(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} needs equal shapes: teacher .*6.*student .*7"):
        score(member(name), outputs(0), outputs(1, width=7))


@pytest.mark.parametrize("name", sorted(set(PUBLISHED) - {"fitnet", "cc"}))
def test_other_losses_compare_any_width(name: str) -> None:
    assert score(member(name), outputs(0), outputs(1, width=7)) < 0


def test_stages_are_compared_one_to_one() -> None:
    with pytest.raises(ValueError, match="the teacher has 3 stages, the student 2"):
        score(member("at"), outputs(0), outputs(1, stages=2))
    assert score(member("sp"), outputs(0), outputs(1, stages=2)) < 0


@pytest.mark.parametrize(
    ("name", "override", "message"),
    [
        ("kd", "output=features", r"output=features: allowed are logits, embedding, map, maps"),
        ("kd", "loss.temperature=0", r"proxy\.kd\.loss .*temperature=0.*positive"),
        (
            "at",
            "output=embedding",
            r"proxy\.at\.loss cannot be computed with output=embedding.*maps",
        ),
        ("pkt", "loss.eps=nan", r"proxy\.pkt\.loss: its settings make it nan"),
        ("kd", "loss=null", r"proxy\.kd\.loss=None: give a node"),
    ],
)
def test_bad_settings_are_refused(name: str, override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        member(name, override)


def test_a_setting_the_loss_does_not_know_is_refused() -> None:
    with pytest.raises(UserError, match=r"proxy\.x\.loss .*heat"):
        Distillation(name="x", loss=partial(kd, heat=3), output="logits")
    with pytest.raises(UserError, match=r"proxy\.x\.loss .*output=logits"):
        Distillation(name="x", loss=lambda teacher, student: teacher - student, output="logits")


def test_making_one_leaves_the_random_state_alone() -> None:
    state = torch.get_rng_state()
    Distillation(name="x", loss=fitnet, output="maps")
    assert torch.equal(torch.get_rng_state(), state)


def test_sp_in_a_search_is_the_relation_proxy(
    setup_of: Callable[..., tuple[dict[str, Any], Any]], small_archs: Callable[..., Any]
) -> None:
    _, setup = setup_of("space=s0", "proxy=[sp,relation]")
    for arch in small_archs(setup.space, 2):
        found = setup.scorer.measure(arch)
        assert found.parts["sp"]["sp"] == pytest.approx(found.parts["relation"]["relation"], 1e-12)


def test_a_candidate_of_another_width_is_a_record(
    setup_of: Callable[..., tuple[dict[str, Any], Any]], small_archs: Callable[..., Any]
) -> None:
    _, setup = setup_of("space=s0", "teacher=resnet8x4", "proxy=[rkd,fitnet,cc]")
    [arch] = small_archs(setup.space, 1)
    found = replace(setup.scorer, debug=False).measure(arch)
    assert list(found.parts) == ["rkd"]
    assert "fitnet needs equal shapes" in found.failures["fitnet"]
    assert "teacher (6, 256), student (6, 64)" in found.failures["cc"]
