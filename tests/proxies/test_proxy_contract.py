"""What every member of conf/proxy keeps on every member of conf/space."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from math import isfinite
from typing import Any

import pytest
import torch

from diswot.data.batch import MiniBatch
from diswot.errors import UserError
from diswot.instantiate import make
from diswot.networks.teacher import build_teacher
from diswot.proxies import Proxy
from diswot.proxies.base import Parts, Subject
from diswot.scoring.init import Initializer
from diswot.scoring.scorer import Scorer, _forward, summarize_teacher
from diswot.scoring.setup import Setup

SetupOf = Callable[..., tuple[dict[str, Any], Setup]]


def hexed(found: Any) -> Any:
    assert found.failures == {}
    return {name: {k: v.hex() for k, v in parts.items()} for name, parts in found.parts.items()}


def relabelled(batch: MiniBatch) -> MiniBatch:
    return MiniBatch(batch.images, (batch.labels + 1) % 10)


def test_scores_are_finite_numbers_that_repeat(
    proxy_name: str, space_name: str, setup_of: SetupOf, small_archs: Callable[..., Any]
) -> None:
    _, setup = setup_of(f"space={space_name}", f"proxy={proxy_name}")
    state = torch.get_rng_state()
    archs = small_archs(setup.space, 2)
    found = [setup.scorer.measure(arch) for arch in archs]
    again = [setup.scorer.measure(arch) for arch in reversed(archs)]
    assert list(map(hexed, found)) == list(map(hexed, again))[::-1]
    assert torch.equal(torch.get_rng_state(), state)
    name, proxy = setup.fitness
    assert (name, proxy.name) == (proxy_name, proxy_name)
    scores = proxy.fitness([one.parts[name] for one in found])
    assert all(isinstance(score, float) and isfinite(score) for score in scores)
    assert scores[0] != scores[1]
    remembered = setup.scorer.memory()
    for arch, one in zip([*archs, *archs], [*found, *found], strict=True):
        assert hexed(setup.scorer.measure(arch, remembered)) == hexed(one)


def test_measuring_changes_nothing_and_runs_no_backward_pass(
    proxy_name: str,
    space_name: str,
    setup_of: SetupOf,
    small_archs: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, setup = setup_of(f"space={space_name}", f"proxy={proxy_name}")
    proxy = setup.proxies[proxy_name]
    measure = type(proxy).measure
    calls = []

    def watched(self: Proxy, subject: Subject) -> Parts:
        network = subject.network
        before: dict[str, Any] = {}
        if network is not None:
            before = {name: t.clone() for name, t in network.state_dict().items()}
            modes = [module.training for module in network.modules()]
        images, labels = subject.batch.images.clone(), subject.batch.labels.clone()
        found = measure(self, subject)
        assert torch.equal(subject.batch.images, images)
        assert torch.equal(subject.batch.labels, labels)
        if network is not None:
            assert all(torch.equal(before[k], t) for k, t in network.state_dict().items())
            assert [module.training for module in network.modules()] == modes
            assert all(weight.grad is None for weight in network.parameters())
        assert (network is not None) == (subject.outputs is not None)
        if not self.needs_gradients:
            assert not torch.is_grad_enabled()
            if subject.outputs is not None:
                assert not subject.outputs.logits.requires_grad
        calls.append(found)
        return found

    def refuse(*args: object, **settings: object) -> None:
        raise AssertionError("a backward pass")

    monkeypatch.setattr(type(proxy), "measure", watched)
    if not proxy.needs_gradients:
        monkeypatch.setattr(torch.autograd, "backward", refuse)
        monkeypatch.setattr(torch.autograd, "grad", refuse)
    scorer = replace(setup.scorer, debug=True)
    assert hexed(scorer.measure(small_archs(setup.space, 1)[0]))
    assert len(calls) == 1


def trained_teacher(config: dict[str, Any], scorer: Scorer) -> torch.nn.Module:
    teacher = build_teacher(config["teacher"], scorer.num_classes, scorer.batch.images.shape[1])
    init = make(config["init"], "init", Initializer)  # type: ignore[type-abstract]
    init(teacher, seed=scorer.seed, role="teacher")
    return teacher


def test_what_it_says_it_does_not_need_it_does_not_need(
    proxy_name: str, space_name: str, setup_of: SetupOf, small_archs: Callable[..., Any]
) -> None:
    config, setup = setup_of(f"space={space_name}", f"proxy={proxy_name}")
    proxy, scorer = setup.proxies[proxy_name], setup.scorer
    [arch] = small_archs(setup.space, 1)
    expected = hexed(scorer.measure(arch))
    assert inspect.getdoc(type(proxy))
    if not proxy.needs_labels:
        batch = relabelled(scorer.batch)
        summaries: Any = {}
        if proxy.needs_teacher:
            teacher = trained_teacher(config, scorer)
            summaries = summarize_teacher(teacher, setup.proxies, batch, scorer.runtime)
        assert hexed(replace(scorer, batch=batch, teacher=summaries).measure(arch)) == expected
    if not proxy.needs_teacher:
        assert scorer.teacher == {}
        _, alone = setup_of(f"space={space_name}", f"proxy={proxy_name}", "teacher=none")
        assert hexed(alone.scorer.measure(arch)) == expected
    else:
        with pytest.raises(UserError, match=f"teacher=none, but {proxy_name} compares"):
            setup_of(f"space={space_name}", f"proxy={proxy_name}", "teacher=none")
    if not proxy.needs_forward:
        other = MiniBatch(torch.zeros_like(scorer.batch.images), scorer.batch.labels)
        assert hexed(replace(scorer, batch=other).measure(arch)) == expected


def test_a_student_that_is_its_teacher_is_the_optimum(
    proxy_name: str, space_name: str, setup_of: SetupOf, small_archs: Callable[..., Any]
) -> None:
    _, setup = setup_of(f"space={space_name}", f"proxy={proxy_name}")
    proxy, scorer = setup.proxies[proxy_name], setup.scorer
    if not proxy.needs_teacher:
        pytest.skip(f"{proxy_name} compares with no teacher")
    archs = small_archs(setup.space, 4)
    with scorer.runtime.reproducible(), torch.no_grad():
        network = scorer._network(archs[0])
        outputs, _ = _forward(network, {}, scorer.batch, scorer.runtime)
        summary = proxy.summarize(outputs, scorer.batch, network)
    twin = replace(scorer, teacher={proxy_name: summary})
    scores = [proxy.fitness([twin.measure(arch).parts[proxy_name]])[0] for arch in archs]
    assert scores[0] == 0
    assert max(scores[1:]) < 0
    assert all(proxy.fitness([scorer.measure(arch).parts[proxy_name]])[0] <= 0 for arch in archs)


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


def test_relative_scores_come_first(setup_of: SetupOf) -> None:
    _, setup = setup_of("space=s0", "proxy=diswot", "proxy.diswot.combine=rank")
    assert setup.proxies["diswot"].relative
    with pytest.raises(UserError, match=r"proxy\.diswot: its scores are relative"):
        setup_of("space=s0", "proxy=[nwot,diswot]", "proxy.diswot.combine=zscore")


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

    def measure(self, subject: Subject) -> Parts:
        return self.proxy.measure(subject)
