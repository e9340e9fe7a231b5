"""What every member of conf/proxy keeps on every member of conf/space."""

from __future__ import annotations

import inspect
import json
import pickle
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import isfinite
from typing import Any

import pytest
import torch
from proxy_company import Company, Watched, hexed

from diswot.config import make
from diswot.data import MiniBatch
from diswot.errors import UserError
from diswot.hydra_app import compose
from diswot.models.init import Initializer
from diswot.models.teacher import build_teacher
from diswot.proxies import Proxy
from diswot.proxies.base import Components, ProxyInput, Summary
from diswot.scoring.candidate import forward
from diswot.scoring.scorer import Scorer, summarize_teacher
from diswot.scoring.setup import Setup

SetupOf = Callable[..., tuple[dict[str, Any], Setup]]
ZEROS = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
REASON = re.compile(r"ValueError: [\w√].{14,250} \(\w+\)")


def test_scores_are_finite_numbers(company: Company, proxy_name: str) -> None:
    proxy, parts = company.setup.proxies[proxy_name], company.parts(proxy_name)
    assert proxy.name == proxy_name
    assert inspect.getdoc(type(proxy))
    assert len({tuple(part) for part in parts}) <= 1
    values = [value for part in parts for value in part.values()]
    assert all(type(value) is float and isfinite(value) for value in values)
    scores = proxy.fitness(parts)
    assert len(scores) == len(parts)
    assert all(type(score) is float and isfinite(score) for score in scores)
    json.dumps(proxy.settings(), allow_nan=False)


def test_scores_tell_candidates_apart(
    proxy_name: str, company_on: Callable[[str], Company], spaces: list[str]
) -> None:
    found = [company_on(space).parts(proxy_name)[:2] for space in spaces]
    assert any(len(parts) == 2 and parts[0] != parts[1] for parts in found)


def test_what_cannot_be_measured_has_a_reason(company: Company, proxy_name: str) -> None:
    """Other widths than the teacher's, or a cell that gives zeros, and nothing else."""
    proxy = company.setup.proxies[proxy_name]
    for position, found in enumerate(company.found):
        assert (proxy_name in found.parts) != (proxy_name in found.failures)
        if proxy_name in found.failures:
            assert REASON.fullmatch(found.failures[proxy_name])
            assert proxy.needs_teacher or position >= 2
        else:
            assert found.seconds_each[proxy_name] >= 0


def test_company_changes_no_bit(company: Company, proxy_name: str) -> None:
    """A shared forward pass that others record, watch or go back through gives the same."""
    alone = company.alone(proxy_name)
    names, scorer = list(alone.proxies), alone.scorer
    assert names[0] == proxy_name
    back = [hexed(scorer.measure(arch)) for arch in reversed(company.archs)]
    assert back[::-1] == company.bits(*names)
    if scorer.space.prefixes(company.archs[0]) and alone.proxies[proxy_name].outputs_only:
        memory = scorer.memory()
        twice = [hexed(scorer.measure(company.archs[0], memory)) for _ in range(2)]
        assert twice == [company.bits(*names)[0]] * 2


def test_order_and_another_process_change_no_bit(company: Company) -> None:
    scorer = pickle.loads(pickle.dumps(company.scorer))
    proxies = dict(reversed(scorer.proxies.items()))
    arch, state = company.archs[-1], torch.get_rng_state()
    found = replace(scorer, proxies=proxies).measure(arch)
    assert hexed(found, list(company.watched)) == company.bits(*company.watched)[-1]
    assert torch.equal(torch.get_rng_state(), state)


def test_it_sees_what_it_asks_for_and_changes_nothing(company: Company, proxy_name: str) -> None:
    watched = company.watched[proxy_name]
    assert watched.calls == len(company.archs)
    assert watched.notes == []


class _Rude(Proxy):
    """Breaks every rule but one: its score is a number."""

    def measure(self, inputs: ProxyInput) -> Components:
        assert inputs.network is not None
        assert inputs.outputs is not None
        inputs.network.eval()
        weight = next(inputs.network.parameters())
        weight.grad = torch.zeros_like(weight)
        next(inputs.network.buffers()).add_(1)
        inputs.outputs.logits.mul_(2)
        inputs.batch.labels.zero_()
        torch.rand(1)
        return {"rude": 1.0}


class _Reckless(Proxy):
    """Runs a backward pass unasked."""

    def measure(self, inputs: ProxyInput) -> Components:
        assert inputs.network is not None
        with torch.enable_grad():
            inputs.copy()(inputs.batch.images).sum().backward()
        return {"reckless": 1.0}


def test_those_who_break_the_rules_are_noticed(company_on: Callable[[str], Company]) -> None:
    company = company_on("s0")
    rude, reckless = Watched(_Rude(name="rude")), Watched(_Reckless(name="reckless"))
    images, labels = company.scorer.batch.images, company.scorer.batch.labels
    batch = MiniBatch(images.clone(), labels.clone())
    proxies = {"rude": rude, "reckless": reckless}
    with torch.random.fork_rng(devices=[]):
        found = replace(company.scorer, proxies=proxies, batch=batch).measure(company.archs[0])
    noticed = " ".join(rude.notes)
    for what in ("module ", "gradient ", "state bn1", "logits 0", "labels", "global random"):
        assert what in noticed
    assert "runs a backward pass" in found.failures["reckless"]


def summaries(company: Company, batch: MiniBatch) -> Mapping[str, Summary]:
    """What all proxies keep of the run's teacher, with another mini-batch."""
    scorer = company.scorer
    teacher = build_teacher(
        company.config["teacher"], scorer.num_classes, scorer.batch.images.shape[1]
    )
    init = make(company.config["init"], "init", Initializer)  # type: ignore[type-abstract]
    init(teacher, seed=scorer.seed, role="teacher")
    return summarize_teacher(teacher, scorer.proxies, batch, scorer.runtime)


def test_labels_are_read_where_that_is_said_and_nowhere_else(company: Company) -> None:
    images, labels = company.scorer.batch.images, company.scorer.batch.labels
    batch = MiniBatch(images, torch.arange(len(labels)) // 2)
    assert summaries(company, company.scorer.batch).keys() == company.scorer.teacher.keys()
    scorer = replace(company.scorer, batch=batch, teacher=summaries(company, batch))
    found = hexed(scorer.measure(company.archs[0]))
    changed = {name for name, bits in company.bits(*found)[0].items() if bits != found[name]}
    assert changed == {name for name, p in scorer.proxies.items() if p.needs_labels}


def test_images_are_not_read_without_the_network(company: Company) -> None:
    images, labels = company.scorer.batch.images, company.scorer.batch.labels
    free = [name for name, p in company.setup.proxies.items() if not p.needs_network]
    blank = company.some(free, batch=MiniBatch(images * 0, labels), teacher={})
    assert free
    assert hexed(blank.measure(company.archs[0]), free) == company.bits(*free)[0]


def test_a_teacher_is_needed_where_that_is_said(company: Company, proxy_name: str) -> None:
    none = compose("search", ["teacher=none"], None)["teacher"]
    if company.setup.proxies[proxy_name].needs_teacher:
        with pytest.raises(UserError, match=f"teacher=none, but {proxy_name} compares"):
            company.alone(proxy_name, teacher=none)
        return
    alone = company.alone(proxy_name, teacher=none)
    assert alone.scorer.teacher == {}
    found = hexed(alone.scorer.measure(company.archs[0]), [proxy_name])
    assert found == company.bits(proxy_name)[0]


def test_a_student_that_is_its_teacher_is_the_optimum(company: Company) -> None:
    scorer, archs = company.scorer, company.archs[:2]
    aware = [name for name, proxy in company.setup.proxies.items() if proxy.needs_teacher]
    aware = [name for name in aware if "@" not in name]
    twin = company.some(aware, batch=scorer.batch, teacher=_summaries_of_student(scorer, archs[0]))
    own, other = (twin.measure(arch) for arch in archs)
    assert own.failures == {}
    for name in aware:
        fitness = company.setup.proxies[name].fitness
        [best] = fitness([own.parts[name]])
        assert best == pytest.approx(0, abs=1e-12), name
        if name in other.parts:
            assert fitness([other.parts[name]])[0] < best - 1e-12, name
        assert all(score < 1e-12 for score in map(sum, _values(company, name))), name


def _summaries_of_student(scorer: Scorer, arch: Any) -> dict[str, Summary]:
    with scorer.runtime.reproducible(), torch.no_grad():
        network, batch = scorer.network(arch), scorer.runtime.place_batch(scorer.batch)
        outputs = forward(network, {}, batch, scorer.runtime).outputs
        return {
            name: proxy.summarize(outputs, batch, network)
            for name, proxy in scorer.proxies.items()
            if proxy.needs_teacher
        }


def _values(company: Company, name: str) -> list[list[float]]:
    return [list(parts.values()) for parts in company.parts(name)]


@pytest.mark.parametrize(
    ("space", "arch", "proxy", "reason"),
    [
        ("s1", "s1:8/b3x1-8-8/b3x1-8-8/b3x1-8-8", "fitnet", r"\(6, 64, 4, 4\), student \(6, 8, 4"),
        ("s1", "s1:8/b3x1-8-8/b3x1-8-8/b3x1-8-8", "cc", r"teacher \(6, 64\), student \(6, 8\)"),
        ("s2", None, "at", "the teacher has 3 stages, the student 4"),
        ("nasbench201", ZEROS, "nwot", "two samples switch all ReLUs alike"),
        ("nasbench201", ZEROS, "jacov", "gradient is the same everywhere"),
        ("nasbench201", ZEROS, "zen", "the last map does not depend on the images"),
        ("nasbench201", ZEROS, "te_nas", "the kernel is singular"),
        ("nasbench201", ZEROS, "zico", "no layer has a gradient"),
    ],
)
def test_reasons(
    company_on: Callable[[str], Company], space: str, arch: str | None, proxy: str, reason: str
) -> None:
    company = company_on(space)
    asked = company.scorer.space.parse(arch) if arch else company.archs[0]
    teacher, batch = company.scorer.teacher, company.scorer.batch
    found = company.some([proxy], batch=batch, teacher=teacher).measure(asked)
    assert found.parts == {}
    assert re.search(reason, found.failures[proxy])


@pytest.mark.parametrize("proxy", ["semantic", "diswot"])
@pytest.mark.parametrize(
    ("space", "teacher", "form"),
    [("s0", "resnet56", "channel"), ("s1", "resnet56", "cam"), ("s0", "resnet32x4", "cam")],
)
def test_auto_takes_channels_where_widths_agree(
    setup_of: SetupOf, proxy: str, space: str, teacher: str, form: str
) -> None:
    _, setup = setup_of(f"space={space}", f"teacher={teacher}", f"proxy={proxy}")
    settings = setup.proxies[proxy].settings()
    assert settings["form"] == form
    assert ("floor" in settings) == (form == "channel")


@pytest.mark.parametrize("proxy", ["semantic", "diswot"])
@pytest.mark.parametrize(
    ("space", "teacher", "widths"),
    [("s0", "resnet8x4", (256, 64)), ("s1", "resnet8", (64, "differing widths"))],
)
def test_channels_of_other_widths_are_refused(
    setup_of: SetupOf, proxy: str, space: str, teacher: str, widths: tuple[Any, Any]
) -> None:
    with pytest.raises(UserError) as caught:
        setup_of(
            f"space={space}", f"teacher={teacher}", f"proxy={proxy}", f"proxy.{proxy}.form=channel"
        )
    message = str(caught.value)
    assert f"{teacher} has {widths[0]} channels" in message
    assert f"space {space} have {widths[1]}" in message
    assert f"proxy.{proxy}.form=channel" in message


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("form=maps", r"proxy\.diswot\.form=maps: allowed are auto, channel, cam"),
        ("floor=-1", r"proxy\.diswot\.floor=-1"),
        ("combine=mean", r"proxy\.diswot\.combine=mean: allowed are sum, zscore, rank"),
    ],
)
def test_bad_settings_are_refused(setup_of: SetupOf, setting: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        setup_of("space=s0", "proxy=diswot", f"proxy.diswot.{setting}")


def test_diswot_is_the_sum_of_its_parts(setup_of: SetupOf, small_archs: Callable[..., Any]) -> None:
    _, setup = setup_of("space=s0", "proxy=[diswot,semantic,relation]")
    found = setup.scorer.measure(small_archs(setup.space, 1)[0]).parts
    assert found["diswot"] == {**found["semantic"], **found["relation"]}
    [score] = setup.proxies["diswot"].fitness([found["diswot"]])
    assert score == pytest.approx(sum(found["diswot"].values()), rel=1e-12)


def test_relative_scores_may_stand_beside_the_first(
    setup_of: SetupOf, small_archs: Callable[..., Any]
) -> None:
    _, setup = setup_of("space=s0", "proxy=[nwot,diswot]", "proxy.diswot.combine=rank")
    proxy = setup.proxies["diswot"]
    assert [(name, one.relative) for name, one in setup.others] == [("diswot", True)]
    found = [setup.scorer.measure(arch).parts["diswot"] for arch in small_archs(setup.space, 2)]
    assert proxy.fitness(found[:1]) == [2.0]
    assert sum(proxy.fitness(found)) == 6.0


def test_nwot_without_relus_is_a_record(setup_of: SetupOf, small_archs: Callable[..., Any]) -> None:
    _, setup = setup_of("space=s0", "proxy=[nwot,params]")
    proxies = {**setup.proxies, "nwot": _Deaf(setup.proxies["nwot"])}
    found = replace(setup.scorer, proxies=proxies).measure(small_archs(setup.space, 1)[0])
    assert "calls no nn.ReLU" in found.failures["nwot"]
    assert list(found.parts) == ["params"]


class _Deaf(Proxy):
    """A proxy that is shown a network without modules."""

    def __init__(self, proxy: Proxy) -> None:
        super().__init__(name=proxy.name)
        self.proxy = proxy

    def observe(self, network: torch.nn.Module) -> Any:
        return self.proxy.observe(torch.nn.Module())

    def measure(self, inputs: ProxyInput) -> Components:
        return self.proxy.measure(inputs)
