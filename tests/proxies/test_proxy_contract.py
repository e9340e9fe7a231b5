"""The contract of every member of conf/proxy on every member of conf/space, both listed."""

import inspect
import json
import pickle
import re
from collections.abc import Callable
from dataclasses import replace
from math import isfinite
from typing import Any

import pytest
import torch
from proxy_helpers import TRANSFORMERS, Company, hexed, made, members, node_of

from diswot.config import conf_dir
from diswot.data import MiniBatch
from diswot.errors import UserError
from diswot.proxies.base import Summary
from diswot.scoring.runtime import forward
from diswot.scoring.scorer import Scorer

REFUSED = {
    *("nwot", "swap", "swap_regularised", "te_nas", "wrcor"),  # of ReLUs
    *("auto_das", "zen", "log_synflow"),
    "meco",  # of fewer tokens than channels
}
"""What makes no sense on transformers."""
REASON = re.compile(r"ValueError: [\w√].{14,250} \(\w+\)|\w+ is (nan|-?inf)")


def test_its_yaml_says_what_it_is(proxy_name: str) -> None:
    lines = (conf_dir() / "proxy" / f"{proxy_name}.yaml").read_text().splitlines()
    assert lines[0] == f"# @package proxy.{proxy_name}"
    assert re.match(r"# \w", lines[1])
    node, proxy = node_of(proxy_name), made(proxy_name)
    assert proxy.name == node["name"] == proxy_name
    assert set(node) - {"_target_"} == set(inspect.signature(type(proxy)).parameters)
    assert inspect.getdoc(type(proxy))
    settings = {**node, **node.get("loss", {}), "loss": proxy.settings().get("loss")}
    settings["members"] = list(node.get("members", ()))
    assert proxy.settings().items() <= settings.items()
    sent = pickle.loads(pickle.dumps(proxy))
    assert (sent.settings(), sent.name) == (proxy.settings(), proxy_name)
    more = proxy.needs_labels or proxy.needs_gradients or proxy.needs_teacher or proxy.needs_layers
    assert not (proxy.baseline and more), "a baseline looks at next to nothing"


def test_scores_are_finite_numbers(company: Company, proxy_name: str) -> None:
    proxy, components = company.setup.proxies[proxy_name], company.components(proxy_name)
    assert len({tuple(each) for each in components}) <= 1
    values = [value for each in components for value in each.values()]
    assert all(type(value) is float and isfinite(value) for value in values)
    scores = proxy.fitness(components)
    assert len(scores) == len(components)
    assert all(type(score) is float and isfinite(score) for score in scores)
    json.dumps(proxy.settings(), allow_nan=False)


def test_scores_tell_candidates_apart(
    proxy_name: str, company_on: Callable[[str], Company]
) -> None:
    pairs = [company_on(space).components(proxy_name)[:2] for space in members("space")]
    if proxy_name == "swap":  # six images have 64 patterns, which all but dead networks have
        pairs = [company_on("nasbench201").components("swap")[-2:]]
    assert any(len(pair) == 2 and pair[0] != pair[1] for pair in pairs)


def test_what_cannot_be_measured_has_a_reason(company: Company, proxy_name: str) -> None:
    """Other widths than the teacher's, a cell that gives zeros, or no sense on transformers."""
    refused = company.setup.space.name in TRANSFORMERS and proxy_name in REFUSED
    proxy = company.setup.proxies[proxy_name]
    for position, measured in enumerate(company.measured):
        assert (proxy_name in measured.parts) != (proxy_name in measured.failures)
        if proxy_name in measured.failures:
            assert REASON.fullmatch(measured.failures[proxy_name])
            assert proxy.needs_teacher or position >= 2 or refused
        else:
            assert measured.seconds_each[proxy_name] >= 0


def test_company_changes_no_bit(company: Company, proxy_name: str) -> None:
    """A shared forward pass that others record, watch or go back through gives the same."""
    names = [n for n in company.watched if n.partition("@")[0] == proxy_name]
    scorer = company.some(names, teacher=company.summaries(names))
    back = [hexed(scorer.measure(arch)) for arch in reversed(company.archs)]
    assert back[::-1] == company.bits(*names)
    if scorer.space.prefixes(company.archs[0]) and scorer.proxies[proxy_name].outputs_only:
        memory = scorer.memory()
        twice = [hexed(scorer.measure(company.archs[0], memory)) for _ in range(2)]
        assert twice == [company.bits(*names)[0]] * 2


def test_order_and_another_process_change_no_bit(company: Company) -> None:
    scorer = pickle.loads(pickle.dumps(company.scorer))
    proxies = dict(reversed(scorer.proxies.items()))
    arch, state = company.archs[-1], torch.get_rng_state()
    measured = replace(scorer, proxies=proxies).measure(arch)
    assert hexed(measured, list(company.watched)) == company.bits(*company.watched)[-1]
    assert torch.equal(torch.get_rng_state(), state)


def test_it_sees_what_it_asks_for_and_changes_nothing(company: Company, proxy_name: str) -> None:
    watched = company.watched[proxy_name]
    assert watched.calls == len(company.archs)
    assert watched.notes == []


def test_labels_are_read_where_that_is_said_and_nowhere_else(company: Company) -> None:
    images, labels = company.scorer.batch.images, company.scorer.batch.labels
    batch = MiniBatch(images, torch.arange(len(labels)) // 2)
    names = list(company.watched)
    scorer = company.some(names, batch=batch, teacher=company.summaries(names, batch))
    assert scorer.teacher.keys() == company.scorer.teacher.keys()
    bits = hexed(scorer.measure(company.archs[0]))
    changed = {name for name, before in company.bits(*bits)[0].items() if before != bits[name]}
    reading = {name for name, proxy in scorer.proxies.items() if proxy.needs_labels}
    assert changed == reading & company.measured[0].parts.keys()


def test_a_teacher_is_needed_where_that_is_said(company: Company) -> None:
    proxies = company.setup.proxies
    needing = [name for name in company.config["proxy"] if proxies[name].needs_teacher]
    others = [name for name in company.config["proxy"] if name not in needing]
    with pytest.raises(UserError, match=f"teacher=none, but {', '.join(needing)} compares"):
        company.untaught(*needing, *others)
    scorer = company.untaught(*others).scorer
    assert scorer.teacher == {}
    assert hexed(scorer.measure(company.archs[0]), others) == company.bits(*others)[0]


def test_a_student_that_is_its_teacher_is_the_optimum(company: Company) -> None:
    scorer, archs, proxies = company.scorer, company.archs[:2], company.setup.proxies
    aware = [
        name
        for name, proxy in proxies.items()
        if proxy.needs_teacher and not proxy.relative and "@" not in name
    ]
    twin = company.some(aware, teacher=_summaries_of_student(scorer, archs[0]))
    own, other = (twin.measure(arch) for arch in archs)
    assert own.failures == {}
    if company.setup.space.name == "s2":
        aware.remove("semantic")  # images_relu sees nothing in maps of one position
    if company.setup.space.name == "pit":
        aware.remove("at")  # these differ in the last stage, where LayerNorm evens attention out
    for name in aware:
        [best] = proxies[name].fitness([own.parts[name]])
        if name in other.parts:
            assert proxies[name].fitness([other.parts[name]])[0] < best - 1e-12, name
        scores = [sum(components.values()) for components in company.components(name)]
        assert all(score < best + 1e-12 for score in scores), name


def _summaries_of_student(scorer: Scorer, arch: Any) -> dict[str, Summary]:
    with scorer.runtime.reproducible(), torch.no_grad():
        network, batch = scorer.network(arch), scorer.runtime.place_batch(scorer.batch)
        outputs = forward(network, {}, batch, scorer.runtime).outputs
        return {
            name: proxy.summarize(outputs, batch, network)
            for name, proxy in scorer.proxies.items()
            if proxy.needs_teacher
        }
